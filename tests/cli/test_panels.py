"""The help of a command has its options in panels, names the keys, and shows an example that is a command."""

from __future__ import annotations

import re
from typing import get_args

import pytest

from fwdtrace.cli.options import COLUMN_KEYS, Key
from tests.helpers.commands import Command

PANELS = {
    "run": ["Model and input", "Measure", "Show", "Save", "Help"],
    "exec": ["Program", "Choose the calls", "Measure", "Show", "Save", "Help"],
    "show": ["Trace", "Show", "Save", "Help"],
    "compare": [
        *("Model and input", "Run directly", "Pair two models", "Run the second otherwise", "Compare two programs"),
        *("Show", "Save", "Help"),
    ],
    "convert": ["Arguments", "Options", "Help"],
    "now": ["Arguments", "Help"],
    "models": ["Arguments", "Options", "Help"],
    "rule": ["Arguments", "Help"],
}


@pytest.mark.parametrize("name", PANELS)
def test_the_options_stand_in_panels_and_there_is_an_example(command: Command, name: str) -> None:
    text = command(name, "--help").out
    assert re.findall(r"^(\S.*):$", text, re.MULTILINE) == PANELS[name]
    assert f"Example: fwdtrace {name} " in text
    assert max(map(len, text.splitlines())) <= 80


def test_the_keys_of_columns_and_of_sort_are_named_whole(command: Command) -> None:
    words = set(re.findall(r"[\w-]+", command("run", "--help").out))
    assert words >= {*COLUMN_KEYS} and words >= {*get_args(Key)} - {"self-time", "parameters"}


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("run", "[SPEC]"),
        ("compare", "[SPEC] [OTHER]"),
        ("exec", "SCRIPT [ARGS]..."),
        ("show", "FILE..."),
        ("now", "PID"),
    ],
)
def test_the_usage_line_names_the_arguments_as_the_help_below_it(command: Command, name: str, arguments: str) -> None:
    lines = command(name, "--help").out.splitlines()
    assert lines[0].endswith(f"fwdtrace {name} [OPTIONS] {arguments}")
    below = [line.split()[0] for line in lines if line.startswith("  ")]
    assert {word.strip("[]") for word in arguments.split()[:1]} <= set(below)


def test_no_summary_of_a_command_is_cut(command: Command) -> None:
    _, _, summaries = command("--help").out.partition("Commands:")
    assert summaries.count("\n") == 9 and "..." not in summaries
