"""`fwdtrace show` writes a saved trace as the run that saved it would have."""

from __future__ import annotations

from pathlib import Path

import pytest

from fwdtrace.cli.results import TRACE_SUFFIXES
from tests.helpers.commands import Command


@pytest.mark.parametrize("suffix", TRACE_SUFFIXES)
def test_a_saved_trace_is_written_in_every_format_as_a_run_writes_it(
    command: Command, folder: Path, suffix: str
) -> None:
    command("run", "lenet-functional", "-o", "saved.json", "-o", f"of-run{suffix}")
    assert command("show", "saved.json", "-o", f"of-show{suffix}").status == 0
    assert (folder / f"of-run{suffix}").read_bytes() == (folder / f"of-show{suffix}").read_bytes()
