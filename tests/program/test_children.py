"""Processes that a program starts, followed with `--children`: each keeps its own calls, and the first one reports."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fwdtrace import load_trace
from fwdtrace.program import children
from fwdtrace.program.children import Child, Children, lines_of_children, name_of_this_process, named
from tests.helpers.commands import CHILDS_PATH, HANG

SCRIPT = """\
import os, subprocess, sys
import torch, torch.multiprocessing as mp

torch.set_num_threads(1)


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(4, 2)

    def forward(self, x):
        return self.fc(x)


def train(rank, net=None):
    net = net or Net()
    for width in (4, 4, 5 if "bad" in sys.argv and rank == 0 else 4):
        net(torch.ones(2, width))


def run_all(how):
    processes = [mp.get_context(how).Process(target=train, args=(rank,)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    print([process.exitcode for process in processes])


if __name__ == "__main__":
    how = sys.argv[1]
    if how == "own":
        net = Net()
        net(torch.ones(1, 4))
        if os.fork() == 0:
            train(1, net)
            sys.exit(3)
        print(os.waitstatus_to_exitcode(os.wait()[1]))
    elif how == "same":
        print(subprocess.run([sys.executable, __file__, "fork"]).returncode)
    elif how == "torch":
        mp.spawn(train, nprocs=2)
    else:
        run_all(how)
"""
LINE = "Net (net): call 1 of 3, all in training with gradients"


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "many.py").write_text(SCRIPT, encoding="utf-8")
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=HANG, check=False,
        env={**os.environ, "PYTHONPATH": CHILDS_PATH, "OMP_NUM_THREADS": "1", "TMPDIR": str(folder)},
    )  # fmt: skip


def kept(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir() if file.name != "many.py" and "__pycache__" not in file.name)


@pytest.mark.parametrize(
    ("how", "printed"),
    [
        pytest.param("fork", "[0, 0]\n", marks=pytest.mark.sweep),
        pytest.param("spawn", "[0, 0]\n", marks=pytest.mark.sweep),
        pytest.param("forkserver", "[0, 0]\n", marks=pytest.mark.long),
        pytest.param("torch", "", marks=pytest.mark.long),
        ("same", "[0, 0]\n0\n"),
    ],
)
def test_each_process_saves_its_own_file_and_the_first_one_says_so(how: str, printed: str, tmp_path: Path) -> None:
    ran = run(tmp_path, "-m", "fwdtrace", "exec", "--children", "many.py", how)
    assert (ran.returncode, ran.stdout) == (0, printed), ran.stderr
    assert ran.stderr.splitlines() == [
        f"fwdtrace: children 1 and 2: {LINE}",
        "fwdtrace: saved many.child1.json, many.child2.json",
    ]
    assert kept(tmp_path) == ["many.child1.json", "many.child2.json"]
    assert [load_trace(tmp_path / file).run.call for file in kept(tmp_path)] == [1, 1]


def test_a_forked_process_knows_the_models_of_its_parent_and_counts_its_own_calls(tmp_path: Path) -> None:
    ran = run(tmp_path, "-m", "fwdtrace", "exec", "--children", "-o", "t.json", "many.py", "own")
    assert (ran.returncode, ran.stdout) == (0, "3\n"), ran.stderr
    assert ran.stderr.splitlines() == [
        "fwdtrace: Net (net): called once, in training with gradients",
        "fwdtrace: saved t.json",
        f"fwdtrace: child 1 (many.py): {LINE}",
        "fwdtrace: saved t.child1.json",
    ]


@pytest.mark.parametrize("how", ["fork", pytest.param("torch", marks=pytest.mark.long)])
def test_the_call_that_raised_in_a_child_is_shown_last_and_no_traceback_has_frames_of_ours(
    how: str, tmp_path: Path
) -> None:
    ran = run(tmp_path, "-m", "fwdtrace", "exec", "--children", "--fail-on", "FT006", "many.py", how, "bad")
    assert (ran.returncode, ran.stdout) == (1, "[1, 0]\n" if how == "fork" else ""), ran.stderr
    assert "(5 features" not in ran.stderr and "fc (Linear) expects 4 features, got 5" in ran.stderr
    assert " raised\n" in ran.stderr
    assert any(file.endswith(".error.json") for file in kept(tmp_path))
    traceback_by_multiprocessing = ran.stderr.partition("fwdtrace: children")[0]
    assert "in forward" in traceback_by_multiprocessing and "<fwdtrace" not in traceback_by_multiprocessing


def test_without_the_option_one_line_says_how_many_there_were(tmp_path: Path) -> None:
    ran = run(tmp_path, "-m", "fwdtrace", "exec", "many.py", "fork")
    assert ran.stderr.splitlines() == [
        "fwdtrace: no call was kept: the program itself called no model; it started 2 processes, whose calls are not "
        "traced; --children follows them"
    ]
    assert kept(tmp_path) == []


def test_numbers_are_given_once_and_word_is_read_in_their_order(tmp_path: Path) -> None:
    folder = Children(tmp_path)
    assert [folder.claim() for _ in range(3)] == [1, 2, 3]
    folder.leave(Child(2, "b"))
    folder.leave(Child(1, "a", ["old"]))
    folder.leave(Child(1, "a", ["Net: called once"]))
    assert folder.all() == [Child(1, "a", ["Net: called once"], [], []), Child(2, "b", [], [], [])]
    folder.remove()
    assert not tmp_path.exists()
    assert folder.claim() == os.getpid()
    folder.leave(Child(1, "nobody reads it"))


def test_children_that_say_the_same_share_a_line() -> None:
    those = [Child(number, f"Process-{number}", ["x"] if number < 4 else ["y"]) for number in range(1, 5)]
    assert lines_of_children(those) == ["children 1 to 3: x", "child 4 (Process-4): y"]
    assert named([those[0], those[2]]) == "children 1 and 3"


def test_a_process_has_the_name_that_says_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children.sys, "argv", ["/a/train.py"])
    monkeypatch.delenv("RANK", raising=False)
    assert name_of_this_process() == "train.py"
    monkeypatch.setenv("RANK", "3")
    assert name_of_this_process() == "rank 3"
