"""Options that belong together reach a command as one value, and are those that the rooms below know."""

from __future__ import annotations

import inspect
from dataclasses import asdict
from pathlib import Path

from fwdtrace.cli.files import TRACE_SUFFIXES
from fwdtrace.cli.options import COLUMN_KEYS, Chosen, Measured, Seed, Shown, Variation
from fwdtrace.cli.sets import as_typer_takes_it
from fwdtrace.program.observed import Program
from fwdtrace.render.columns import BY_KEY
from fwdtrace.run.once import Measures
from fwdtrace.run.two import TwoRunsPlan
from fwdtrace.trace.views import FORMS
from tests.helpers.commands import Command
from tests.helpers.traces import lenet


def test_a_command_gets_a_set_of_options_as_one_value_and_typer_gets_each_option() -> None:
    given: list[tuple[int, Shown]] = []

    def command(shown: Shown, seed: Seed = 0) -> None:
        """Show it."""
        given.append((seed, shown))

    flat = as_typer_takes_it(command)
    assert list(inspect.signature(flat).parameters) == [
        *("seed", "columns", "only", "source", "sort", "top", "depth", "no_fold", "color"),
    ]
    flat(seed=3, columns=None, only=None, source=True, sort=None, top=20, depth=1, no_fold=False, color="auto")
    assert given == [(3, Shown(source=True, depth=1))]
    assert (flat.__name__, flat.__doc__) == ("command", "Show it.")


def test_the_columns_that_can_be_asked_for_are_those_of_the_tree() -> None:
    assert list(COLUMN_KEYS) == list(BY_KEY)
    assert Shown(columns="params, time").column_keys == ["params", "time"]
    assert (Shown().column_keys, Shown().patterns) == ([], [])


def test_a_column_that_there_is_not_is_refused_before_anything_runs(command: Command, folder: Path) -> None:
    for arguments in (("run", "no-such-model"), ("show", "no-such-file.json")):
        ran = command(*arguments, "--columns", "params,tme")
        assert (ran.status, ran.out) == (2, "")
        assert ran.err.startswith("fwdtrace: --columns params,tme: there is no column 'tme'; there are called,input,")


def test_the_suffixes_that_the_commands_take_are_those_of_a_trace(command: Command, folder: Path) -> None:
    assert {".json", *FORMS} == set(TRACE_SUFFIXES)
    lenet().save("t.json")
    command("show", "t.json", "--depth", "0", *(part for suffix in TRACE_SUFFIXES for part in ("-o", f"ours{suffix}")))
    for suffix in TRACE_SUFFIXES:
        lenet().save(folder / f"theirs{suffix}", depth=0)
        written, again = ((folder / f"{whose}{suffix}").read_bytes() for whose in ("ours", "theirs"))
        assert written == again and written.endswith(b"\n")


def test_columns_and_patterns_reach_what_is_printed_and_every_file(command: Command, folder: Path) -> None:
    lenet().save("t.json")
    files = ("t.txt", "t.md", "t.svg", "t.mmd")
    ran = command(
        "show", "t.json", "--columns", "params", "--only", "f6", *(part for name in files for part in ("-o", name))
    )
    for text in (ran.out, *((folder / name).read_text(encoding="utf-8") for name in files)):
        assert "f6" in text and "f7" not in text
    for text in (
        ran.out,
        (folder / "t.txt").read_text(encoding="utf-8"),
        (folder / "t.md").read_text(encoding="utf-8"),
    ):
        assert "10,164" in text and "1×84" not in text


def test_what_is_measured_has_the_names_and_the_defaults_that_a_run_knows() -> None:
    assert {**asdict(Measured()), "loss": None, "repeat": 0} == asdict(Measures())


def test_a_plan_knows_what_is_chosen_and_what_is_varied() -> None:
    # A program knows of its children by the folder in which they leave word.
    assert {**asdict(Chosen()), "children": None}.items() <= asdict(Program("train.py")).items()
    assert asdict(Variation()).items() <= asdict(TwoRunsPlan("lenet")).items()
