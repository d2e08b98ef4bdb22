"""`fwdtrace exec` from the command line: what it shows, its exit status, and what it refuses."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fwdtrace import load_trace
from fwdtrace.cli.exec import _behind
from tests.helpers.commands import CHILDS_PATH, HANG, finish, start

TRAIN = """\
import torch
from torch import nn


class Critic(nn.Linear):
    pass


critic = Critic(2, 1)
for step in range(2):
    critic(torch.randn(6, 2))
"""


def run(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "train.py").write_text(TRAIN, encoding="utf-8")
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=HANG,
        env={**os.environ, "PYTHONPATH": CHILDS_PATH, "COLUMNS": "80"},
    )  # fmt: skip


TREE = """\
fwdtrace: Critic (critic): call 2 of 2, all in training with gradients

__main__.Critic (critic) · call 2 · torch TORCH · train · cpu · 3 parameters

module  called              input → output  params  from
Critic  __call__ → forward  6×2   → 6×1          3  train.py:11

1 call · TIME
3 trainable · 12 B parameters · 24 B activations
chain  Module._wrapped_call_impl → Module._call_impl → forward  ×1

"""


def test_the_tree_is_shown_on_stderr(tmp_path: Path) -> None:
    ran = run(["-m", "fwdtrace", "exec", "--model", "Critic", "--call", "2", "train.py"], tmp_path)
    lines = ran.stderr.splitlines()
    lines[2] = lines[2].replace(lines[2].split(" · ")[2], "torch TORCH")
    lines[7] = "1 call · TIME"
    assert "\n".join(lines) + "\n" == TREE


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing.py"], "fwdtrace: nothing.py: there is no such file; name a Python file, or -m MODULE\n"),
        (
            ["--call", "2", "--every", "3", "train.py"],
            "fwdtrace: --call and --every are different ways to choose calls; give one of them\n",
        ),
        (
            ["-o", "t.c", "train.py"],
            "fwdtrace: -o t.c: the suffix picks the format; "
            "use one of .json .txt .svg .html .md .mmd .dot .csv .trace.json\n",
        ),
    ],
)
def test_a_wrong_command_line_runs_nothing(arguments: list[str], message: str, tmp_path: Path) -> None:
    ran = run(["-m", "fwdtrace", "exec", *arguments], tmp_path)
    assert (ran.returncode, ran.stdout, ran.stderr) == (2, "", message)


DIRECT = """\
import sys
import threading

import torch

net = torch.nn.Linear(2, 2)
if sys.argv[1] == "thread":
    threading.Thread(target=lambda: (threading.main_thread().join(), net.forward(torch.ones(1, 2)))).start()
else:
    net.forward(torch.ones(1, 2))
    sys.exit(4)
"""


ANNOTATION = "::error title=FT001 direct-forward,file=direct.py,line={}::"


@pytest.mark.parametrize(("how", "status", "line"), [("thread", 1, None), ("exit", 4, 10)])
def test_a_finding_that_is_asked_for_fails_a_program_that_did_not_and_is_shown_where_github_shows_it(
    how: str, status: int, line: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path))
    (tmp_path / "direct.py").write_text(DIRECT, encoding="utf-8")
    ran = run(["-m", "fwdtrace", "exec", "--fail-on", "FT001", "-o", "t.json", "direct.py", how], tmp_path)
    assert ran.returncode == status
    said = [text for text in ran.stderr.splitlines() if text.startswith("fwdtrace: ")][:2]
    assert said == ["fwdtrace: Linear (net): called once, in training with gradients", "fwdtrace: saved t.json"]
    assert ran.stderr.endswith("fwdtrace: failing as --fail-on asks: FT001\n") == (how == "thread")
    shown = [text for text in ran.stderr.splitlines() if text.startswith("::error")]
    assert len(shown) == 1 and (line is None or shown[0].startswith(ANNOTATION.format(line)))


CRASHES = """\
import torch, sys
from torch import nn

net = nn.Sequential(nn.Linear(4, 6), nn.Linear(5, 2))
for width in range(4):
    net[0](torch.ones(3, 4))
net(torch.ones(3, 4))
"""


WRITES = """\
import torch
from torch import nn


class Gate(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x):
        gate = torch.sigmoid(self.fc(x))
        gate += 0.1
        return x * gate


gate = Gate()
gate(torch.rand(3, 4)).mean().backward()
"""


def test_a_backward_that_raises_is_explained_without_being_asked_for(tmp_path: Path) -> None:
    (tmp_path / "writes.py").write_text(WRITES, encoding="utf-8")
    ran = run(["-m", "fwdtrace", "exec", "writes.py"], tmp_path)
    assert ran.returncode == 1
    title, _, rest = ran.stderr.rpartition("fwdtrace: ")[2].partition("\n")
    assert title == "run again until backward raises as the program's did"
    assert rest.endswith(
        "FT011 backward-error  writes.py:12\n"
        "  += in gate wrote into the output of torch.sigmoid in gate (line 11), which the\n"
        "  backward of torch.sigmoid needs as it was\n"
    )


@pytest.mark.parametrize("which", [["--first", "9"], ["--call", "9"]], ids=["recorded", "run-again"])
def test_the_call_that_raised_has_the_fixes_that_were_tried(which: list[str], tmp_path: Path) -> None:
    (tmp_path / "crashes.py").write_text(CRASHES, encoding="utf-8")
    ran = run(["-m", "fwdtrace", "exec", *which, "-o", "t.json", "crashes.py"], tmp_path)
    text = " ".join(ran.stderr.partition("the call that raised")[2].split())
    assert "set in_features=6 in 1 (tried: the model then gives 3×2), or set out_features=5 in 0" in text
    saved = [load_trace(file) for file in tmp_path.glob("t*.json")]
    fixes = [fix.text for trace in saved for finding in trace.findings for fix in finding.fixes]
    assert fixes == ["set in_features=6 in 1", "set out_features=5 in 0"]


def test_of_many_events_the_first_are_kept_and_it_is_said_that_there_may_be_more(folder: Path) -> None:
    (folder / "many.py").write_text(
        "import torch\nnet = torch.nn.Linear(2, 2)\n"
        "for step in range(3000):\n    net(torch.ones(1, 2) * (float('nan') if step % 2 else 1.0))\n",
        encoding="utf-8",
    )
    ran = finish(start("exec", "--on", "nonfinite", "--keep", "2", "-o", "t.json", "many.py"))
    assert "that is --keep 2, so no further events were looked for" in ran.err
    assert sorted(file.name for file in folder.glob("*.json")) == ["t.2.json", "t.json"]


@pytest.mark.parametrize(
    ("text", "behind"),
    [
        ("net.train()\ndrops = 1\n", ["--ops", "--train"]),
        ("parser.add_argument('--train')\n", ["--ops"]),
        ("def main(train=False, ops=1): net.train()\n", []),
    ],
)
def test_an_option_of_ours_behind_a_script_that_has_none_like_it_is_noticed(
    text: str, behind: list[str], tmp_path: Path
) -> None:
    (tmp_path / "t.py").write_text(text)
    assert _behind([str(tmp_path / "t.py"), "--train", "--ops", "--lr=1"]) == behind
