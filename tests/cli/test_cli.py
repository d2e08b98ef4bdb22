"""The command line as a whole: help, version, exit statuses, and what happens when it is used wrongly."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from fwdtrace.cli.commands import app
from fwdtrace.version import __version__
from tests.helpers.commands import REPOSITORY, Command

COMMANDS = ["run", "compare", "convert", "exec", "now", "show", "models", "rule"]


def test_without_arguments_it_shows_its_help(command: Command) -> None:
    ran = command()
    assert ran.status == 0
    assert ran.out == command("--help").out == command("-h").out
    assert all(f"\n  {name} " in ran.out for name in COMMANDS)


def test_the_version_is_that_of_the_package(command: Command) -> None:
    assert command("--version").out == f"fwdtrace {__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_has_an_example_and_fits_80_columns(command: Command, name: str) -> None:
    ran = command(name, "--help")
    assert ran.status == 0
    assert f"Example: fwdtrace {name}" in ran.out
    assert max(map(len, ran.out.splitlines())) <= 80


def test_these_are_all_commands() -> None:
    assert [info.callback.__name__ for info in app.registered_commands if info.callback] == COMMANDS


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["rnu"], "No such command 'rnu'"),
        (["run", "--bogus"], "No such option: --bogus"),
        (["run", "--depth", "deep"], "fwdtrace: --depth deep: write a whole number, 0 or more\n"),
        (["run", "--seed=-1"], "fwdtrace: --seed -1: write a whole number from 0 to 4294967295\n"),
        (["now", "me"], "fwdtrace: PID: write a whole number"),
        (["run", "--repeat"], "fwdtrace: Option '--repeat' requires an argument\n"),
        (["run", "lenet", "lenet"], "write fwdtrace compare lenet lenet"),
    ],
)
def test_bad_usage_is_trouble(command: Command, arguments: list[str], told: str) -> None:
    ran = command(*arguments)
    assert (ran.status, ran.out) == (2, "")
    assert told in ran.err
    assert "Traceback" not in ran.err and len(ran.err.splitlines()) == 1


def test_a_mistake_of_ours_does_not_look_like_an_answer(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_module("fwdtrace.cli.models"), "BUILT_INS", None)
    ran = command("models")
    assert ran.status == 2
    assert "Traceback" in ran.err
    assert ran.err.endswith("fwdtrace: this is a mistake in fwdtrace itself; please report it with the lines above\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_result_that_cannot_be_written_is_trouble() -> None:
    line = f"{sys.executable} -m fwdtrace models > /dev/full"
    ran = subprocess.run(line, shell=True, cwd=REPOSITORY, capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (2, "fwdtrace: the result cannot be written: No space left on device\n")


def test_the_module_and_the_shell_completion_work() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "fwdtrace", "--show-completion", "bash"], cwd=REPOSITORY, capture_output=True, text=True,
        env={**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"},  # no shell may be above the tests
    )  # fmt: skip
    assert ran.returncode == 0
    assert "complete" in ran.stdout
