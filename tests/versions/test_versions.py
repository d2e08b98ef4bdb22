"""What is asked of pip for each version, which interpreter is taken, how the outcome is told; nothing is installed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.versions import __main__ as versions
from tests.versions.__main__ import NEWEST, OLDEST, PINNED, REPOSITORY, Version

CONSTRAINTS = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").splitlines()


def test_with_the_pinned_torch_the_constraints_are_those_of_the_repository() -> None:
    assert sorted(versions.constraints_of(Version("3.12", PINNED))) == sorted(CONSTRAINTS)


@pytest.mark.parametrize(
    ("torch", "own"),
    [
        (OLDEST, {"torch==2.6.0", "torchvision==0.21.0", "sympy==1.13.1"}),
        (NEWEST, {"torch==2.14.1", "torchvision==0.29.1"}),
    ],
)
def test_another_torch_comes_with_what_belongs_to_it_and_with_all_else_as_pinned(torch: str, own: set[str]) -> None:
    names = {line.partition("==")[0] for line in own}
    pinned = {line for line in CONSTRAINTS if line.partition("==")[0] not in names}
    lines = list(versions.constraints_of(Version("3.11", torch)))
    assert set(lines) == pinned | own and len(lines) == len(CONSTRAINTS)


def test_the_oldest_torch_is_the_one_that_the_package_asks_for() -> None:
    assert f'"torch>={OLDEST.removesuffix(".0")}"' in (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")


Says = Callable[[Path, str], str]


@pytest.fixture
def says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Says:
    """Make an executable that prints a version, where nothing else is on the path or in pyenv's folder."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))

    def make(file: Path, text: str) -> str:
        file.parent.mkdir(parents=True)
        file.write_text(f"#!/bin/sh\necho {text}\n", encoding="utf-8")
        file.chmod(0o755)
        return str(file)

    return make


def test_the_interpreter_on_the_path_is_taken_if_it_is_of_that_version(says: Says, tmp_path: Path) -> None:
    on_path = says(tmp_path / "bin" / "python3.12", "3.12")
    says(tmp_path / "pyenv" / "versions" / "3.12.1" / "bin" / "python", "3.12")
    assert versions.interpreter_of("3.12") == on_path


def test_one_of_pyenv_is_taken_where_that_on_the_path_does_not_start_as_this_version(
    says: Says, tmp_path: Path
) -> None:
    says(tmp_path / "bin" / "python3.12", "pyenv: command not found")
    in_pyenv = says(tmp_path / "pyenv" / "versions" / "3.12.1" / "bin" / "python", "3.12")
    assert versions.interpreter_of("3.12") == in_pyenv
    assert versions.interpreter_of("3.1") is None


@pytest.mark.parametrize(
    ("installs", "passes", "status", "last"),
    [
        (True, True, 0, "python3.11-torch2.14.1: passed: 3 passed, 0 failed, 1 skipped in 2 s"),
        (True, False, 1, "python3.11-torch2.14.1: FAILED: 1 passed, 2 failed, 1 skipped in 2 s"),
        (False, True, 1, "python3.11-torch2.14.1: not tested: its packages cannot be installed; pip says why above"),
    ],
)
def test_the_last_lines_and_the_status_say_how_it_ended(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    installs: bool,
    passes: bool,
    status: int,
    last: str,
) -> None:
    failed = 0 if passes else 1

    def run(command: list[object], **_: object) -> subprocess.CompletedProcess[str]:
        words = [str(word) for word in command]
        if "venv" in words:
            Path(words[-1]).mkdir(parents=True)
            return subprocess.CompletedProcess(words, 0)
        if "pip" in words:
            return subprocess.CompletedProcess(words, 0 if installs else 1)
        results = next(word for word in words if word.startswith("--junitxml=")).partition("=")[2]
        suite = f'<testsuite tests="4" failures="{failed}" errors="{failed}" skipped="1" time="2.4"/>'
        Path(results).write_text(f"<testsuites>{suite}</testsuites>", encoding="utf-8")
        return subprocess.CompletedProcess(words, failed)

    monkeypatch.setattr(versions, "interpreter_of", lambda python: sys.executable if python == "3.11" else None)
    monkeypatch.setattr(versions.subprocess, "run", run)
    names = ["python3.11-torch2.14.1", "python3.13-torch2.13.0"]
    monkeypatch.setattr(sys, "argv", ["versions", "--keep", str(tmp_path), *names])
    assert versions.main() == status
    missing = "python3.13-torch2.13.0: not tested: there is no Python 3.13 here"
    assert capsys.readouterr().out.splitlines()[-2:] == [last, missing]
    assert (tmp_path / "python3.11-torch2.14.1" / "complete.txt").exists() == installs


def test_where_no_interpreter_is_there_the_status_is_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(versions, "interpreter_of", lambda _: None)
    monkeypatch.setattr(sys, "argv", ["versions", "python3.13-torch2.13.0"])
    assert versions.main() == 2
    assert capsys.readouterr().out == "\npython3.13-torch2.13.0: not tested: there is no Python 3.13 here\n"
