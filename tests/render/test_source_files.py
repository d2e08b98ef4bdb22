"""`--source` opens regular files of a bounded size, whatever file a trace names."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from fwdtrace.render import source
from fwdtrace.render.source import source_text
from fwdtrace.trace import Site, Trace
from tests.helpers.hangs import in_time
from tests.helpers.traces import call, trace

CODE = "def forward(self, x):\n    y = 2 * x\n    return self.a(y)\n"


def made_at(file: Path) -> Trace:
    """A trace of a call that was made in the third line of the file."""
    site = Site(str(file), 3, "Net.forward", "return self.a(y)")
    return trace(call(0, None, "", "Net"), replace(call(1, 0, "a", "Linear"), site=site))


def lines(file: Path) -> list[str]:
    with in_time():
        return [line.partition("│")[2].strip().split("  ")[0] for line in source_text(made_at(file)).splitlines()[1:]]


def test_a_file_that_is_there_is_shown_with_the_lines_around(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(CODE)
    assert lines(tmp_path / "net.py") == ["def forward(self, x):", "y = 2 * x", "return self.a(y)"]


@pytest.mark.parametrize(
    "name", ["/dev/zero", "/dev/stdin", "/dev/tty", "/proc/self/mem", "/proc/kmsg", "/", "/nowhere"]
)
def test_what_is_no_source_file_is_not_opened(name: str) -> None:
    assert lines(Path(name)) == ["return self.a(y)"]


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "net.py")
    assert lines(tmp_path / "net.py") == ["return self.a(y)"]


def test_a_file_larger_than_any_source_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "net.py").write_text(CODE)
    with (tmp_path / "net.py").open("r+b") as stream:
        stream.truncate(source.LARGEST_SOURCE + 1)
    monkeypatch.setattr("builtins.open", lambda *_, **__: pytest.fail("it was opened"))
    assert lines(tmp_path / "net.py") == ["return self.a(y)"]


@pytest.mark.parametrize("text", [b"\xff\xfe", b"\0" * 99, b"(" * 5000, b"x = " + b"-" * 100_000 + b"1", b""])
def test_a_file_that_is_no_python_is_not_shown(text: bytes, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_bytes(text)
    assert lines(tmp_path / "net.py") == ["return self.a(y)"]
