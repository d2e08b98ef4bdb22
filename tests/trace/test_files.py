"""A file is written whole or not at all, in every format, whatever ends the process that writes it."""

from __future__ import annotations

import multiprocessing
import os
import random
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from fwdtrace.cli.files import TRACE_SUFFIXES
from fwdtrace.cli.options import Shown
from fwdtrace.cli.results import save_as_suffix
from fwdtrace.trace import Trace
from fwdtrace.trace import trace as module
from fwdtrace.trace.files import replacing, write_text
from fwdtrace.trace.views import form_for
from tests.helpers.commands import HANG, REPOSITORY, Outcome
from tests.helpers.traces import call, lenet, trace

KILLS = 5


def many(number: int) -> Trace:
    """A trace of calls that cannot be folded, so that every format takes some time to write."""
    return trace(
        call(0, None, "", "Net"),
        *(call(id, 0, f"layer{id}", f"Kind{id}", (1, id), (number, id + 1)) for id in range(1, 200)),
    )


def write_for_ever(file: Path, traces: tuple[Trace, Trace], drawn: dict[int, str]) -> None:
    """Write one trace and the other over the file, drawn before, until the process is killed."""
    if drawn:
        module.form_for = lambda name, options: lambda trace: drawn[id(trace)]  # type: ignore[attr-defined]
    while True:
        for each in traces:
            save_as_suffix(each, file, Shown(no_fold=True), width=80)


def limited(folder: Path, *arguments: str) -> Outcome:
    """Run the command line where no file can be larger than a KiB, as on a full disk."""
    writes_no_bytecode = {"PYTHONDONTWRITEBYTECODE": "1"}  # else Python cuts it off there, and cannot import it again
    ended = subprocess.run(
        ["sh", "-c", 'ulimit -f 1; exec "$@"', "sh", sys.executable, "-m", "fwdtrace", *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=HANG,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "COLUMNS": "80"} | writes_no_bytecode,
    )
    return Outcome(ended.returncode, ended.stdout, ended.stderr)


@pytest.mark.parametrize("suffix", TRACE_SUFFIXES)
def test_a_process_killed_as_it_writes_leaves_a_whole_file(suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"t{suffix}"
    traces = many(1), many(2)
    form = form_for(file.name, {"width": 80, "depth": None, "fold": False, "columns": (), "only": ()})
    drawn = {id(each): form(each) for each in traces} if form is not None else {}
    whole = []
    for number, each in enumerate(traces):
        save_as_suffix(each, tmp_path / f"whole{number}{suffix}", Shown(no_fold=True), width=80)
        whole.append((tmp_path / f"whole{number}{suffix}").read_bytes())
    chance = random.Random(suffix)
    fork = multiprocessing.get_context("fork")
    for _ in range(KILLS):
        file.write_bytes(b"OLD")
        process = fork.Process(target=write_for_ever, args=(file, traces, drawn))
        process.start()
        while file.read_bytes() == b"OLD" and process.is_alive():
            time.sleep(0.001)
        time.sleep(chance.uniform(0.0, 0.02))
        process.kill()
        process.join()
        assert file.read_bytes() in whole
    assert all(left.name.startswith(f".t{suffix}.fwdtrace-") for left in tmp_path.glob(".*"))


@pytest.mark.parametrize("suffix", TRACE_SUFFIXES)
def test_a_full_disk_keeps_the_old_file_and_says_so(suffix: str, tmp_path: Path) -> None:
    many(1).save(tmp_path / "saved.json")
    (tmp_path / f"t{suffix}").write_text("OLD")
    ended = limited(tmp_path, "show", "saved.json", "--no-fold", "-o", f"t{suffix}")
    assert ended == Outcome(2, "", f"fwdtrace: -o t{suffix}: cannot be written: File too large\n")
    assert (tmp_path / f"t{suffix}").read_text() == "OLD"
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(["saved.json", f"t{suffix}"])


@pytest.mark.parametrize("suffix", [".json", ".html"])
def test_a_full_disk_keeps_an_old_comparison(suffix: str, tmp_path: Path) -> None:
    many(1).save(tmp_path / "a.json")
    many(2).save(tmp_path / "b.json")
    (tmp_path / f"c{suffix}").write_text("OLD")
    ended = limited(tmp_path, "compare", "a.json", "b.json", "-o", f"c{suffix}")
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.splitlines()[-1] == f"fwdtrace: -o c{suffix}: cannot be written: File too large"
    assert (tmp_path / f"c{suffix}").read_text() == "OLD"


def test_a_full_disk_keeps_old_values(tmp_path: Path) -> None:
    (tmp_path / "v.safetensors").write_text("OLD")
    ended = limited(tmp_path, "run", "lenet", "--save-values", "v.safetensors")
    assert ended.status == 2
    last = ended.err.splitlines()[-1]
    assert last.startswith("fwdtrace: --save-values v.safetensors: cannot be written: ")
    assert [file.name for file in tmp_path.iterdir()] == ["v.safetensors"]
    assert (tmp_path / "v.safetensors").read_text() == "OLD"


def test_ctrl_c_keeps_the_old_file_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "t.txt"
    file.write_text("OLD")
    with pytest.raises(KeyboardInterrupt), replacing(file) as path:
        path.write_text("half")
        raise KeyboardInterrupt
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("t.txt", "OLD")]


def test_a_file_keeps_its_mode_and_is_not_readable_before(tmp_path: Path) -> None:
    file = tmp_path / "t.txt"
    file.write_text("OLD")
    file.chmod(0o640)
    with replacing(file) as path:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        path.write_text("NEW")
    assert (stat.S_IMODE(file.stat().st_mode), file.read_text()) == (0o640, "NEW")


def test_a_new_file_has_the_mode_that_open_gives(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with replacing(tmp_path / "new") as path:
            path.unlink()
            path.touch(0o600)  # as a library does that writes a file of its own
        (tmp_path / "opened").write_text("")
    finally:
        os.umask(before)
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "opened").stat().st_mode


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away")
def test_a_file_keeps_its_owner(tmp_path: Path) -> None:
    file = tmp_path / "t.txt"
    file.write_text("OLD")
    os.chown(file, 1234, 4321)
    write_text(file, "NEW")
    assert (file.stat().st_uid, file.stat().st_gid, file.read_text()) == (1234, 4321, "NEW")


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(Path("folder") / "file")
    for text in ("first", "second"):
        write_text(tmp_path / "link", text)
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "folder" / "file").read_text() == text
    assert [file.name for file in (tmp_path / "folder").iterdir()] == ["file"]


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe.json").read_text()))
    reader.start()
    lenet().save(tmp_path / "pipe.json")
    reader.join(timeout=HANG)
    lenet().save(tmp_path / "file.json")
    assert read == [(tmp_path / "file.json").read_text()]
    assert (tmp_path / "pipe.json").is_fifo()


def test_standard_output_is_written_to_also_where_it_is_a_file(tmp_path: Path) -> None:
    script = "import sys; from fwdtrace.trace.files import write_text; write_text('/dev/stdout', 'text')"
    with (tmp_path / "out").open("w") as out:
        subprocess.run([sys.executable, "-c", script], stdout=out, cwd=REPOSITORY, check=True)
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("out", "text")]


def test_a_name_that_is_too_long_is_an_os_error_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="too long"):
        write_text(tmp_path / f"{'あ' * 90}.txt", "text")
    assert list(tmp_path.iterdir()) == []


def test_exec_tells_as_saved_what_is_there_alone(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(
        "import torch\nfrom torch import nn\nnn.Linear(4, 4)(torch.ones(1, 4))\n"
        "type('x' * 260, (nn.Linear,), {})(4, 4)(torch.ones(1, 4))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-m", "fwdtrace", "exec", "-o", "t.json", "program.py"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=HANG,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"},
    )
    lines = ended.stderr.splitlines()
    assert lines[0] == f"fwdtrace: t.{'x' * 260}.json cannot be written: File name too long"
    assert lines[-1] == "fwdtrace: saved t.json"
