"""`fwdtrace show` writes a saved trace as the run that saved it would have."""

from __future__ import annotations

from pathlib import Path

import pytest

from fwdtrace.cli.files import TRACE_SUFFIXES
from tests.helpers.commands import Command


@pytest.mark.parametrize("suffix", TRACE_SUFFIXES)
def test_a_saved_trace_is_written_in_every_format_as_a_run_writes_it(
    command: Command, folder: Path, suffix: str
) -> None:
    command("run", "lenet-functional", "-o", "saved.json", "-o", f"of-run{suffix}")
    assert command("show", "saved.json", "-o", f"of-show{suffix}").status == 0
    assert (folder / f"of-run{suffix}").read_bytes() == (folder / f"of-show{suffix}").read_bytes()


def test_a_saved_comparison_is_no_trace_to_show(command: Command, folder: Path) -> None:
    assert command("compare", "lenet", "lenet", "-o", str(folder / "c.json")).status == 0
    ran = command("show", "c.json")
    assert ran.status == 2 and "c.json" in ran.err and "comparison" in ran.err


def test_columns_are_those_that_were_asked_for(command: Command, folder: Path) -> None:
    command("run", "lenet-functional", "-o", "saved.json")
    titles = command("show", "saved.json", "--columns", "output, from-row").out.splitlines()[2].split()
    assert titles == ["module", "→", "output", "data", "from"]
    command("show", "saved.json", "--columns", "time", "-o", "t.txt", "-o", "t.svg")
    assert "params" not in (folder / "t.txt").read_text(encoding="utf-8")
    assert "params" not in (folder / "t.svg").read_text(encoding="utf-8")


def test_several_ranks_are_shown_as_one_and_a_pattern_is_expanded(command: Command, folder: Path) -> None:
    command("run", "lenet-functional", "-o", "saved.json")
    text = (folder / "saved.json").read_text(encoding="utf-8")
    for rank in (0, 1):
        (folder / f"t.rank{rank}.json").write_text(text.replace('"rank": null', f'"rank": {rank}'), encoding="utf-8")
    ran = command("show", "t.rank*.json", "-o", "t.txt", "-o", "t.json")
    assert "2 ranks of LeNetFunctional\n  all 2 made the same calls with the same shapes\n" in ran.out
    assert (folder / "t.txt").read_text(encoding="utf-8").startswith("2 ranks of LeNetFunctional\n")
    assert command("show", "t.rank0.json", "t.rank1.json", "--json").out == (folder / "t.json").read_text()
    assert command("show", "t.rank*.json", "-o", "t.svg").status == 2
    assert command("show", "u.rank*.json").status == 2


def test_json_says_which_options_do_not_change_it(command: Command, folder: Path) -> None:
    command("run", "lenet-functional", "-o", "saved.json")
    plain, asked = command("show", "saved.json", "--json"), command("show", "saved.json", "--json", "--source")
    assert (plain.err, asked.out) == ("", plain.out)
    assert asked.err == "fwdtrace: --json gives the whole trace, with or without --source\n"


def test_one_view_is_shown_at_a_time(command: Command) -> None:
    ran = command("show", "saved.json", "--source", "--sort", "time")
    assert (ran.status, ran.err) == (2, "fwdtrace: --source and --sort are different views; give one of them\n")
