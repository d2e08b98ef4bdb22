"""Two programs are run in processes of their own and compared, and what keeps one of them from it is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from fwdtrace.errors import FwdtraceError
from fwdtrace.run.programs import ProgramsPlan, compare_two_programs

SCRIPT = """\
import sys
import torch
from torch import nn

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5 if "--drop" in sys.argv else 0.0))
for step in range(1000):
    model(torch.ones(2, 4)).sum().backward()
    for parameter in model.parameters():  # an optimizer of torch's would import its compiler
        parameter.data -= 0.1 * parameter.grad
        parameter.grad = None
    print(step, flush=True)
    if step == 5:
        raise SystemExit("went on for too long")
"""


def test_both_run_until_the_call_is_there_and_what_differs_is_named(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "train.py").write_text(SCRIPT)
    told: list[str] = []
    train = tmp_path / "train.py"
    found = compare_two_programs(ProgramsPlan(f"{train}", f"{train} --drop", first=2), told.append)
    assert found.origin is not None
    assert (found.origin.path, found.origin.which, found.origin.call) == ("1", "forward", 1)
    assert [step.call for step in found.steps] == [1, 2]
    assert not any("status" in note for note in found.notes)
    assert told == ["running the first program", "running the second program", "comparing what both did"]
    assert capfd.readouterr().out == ""


def test_a_program_that_keeps_no_call_is_shown_with_what_it_said(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("import sys\nsys.exit('no data found')\n")
    with pytest.raises(FwdtraceError) as raised:
        compare_two_programs(ProgramsPlan(f"{tmp_path / 'train.py'}", f"{tmp_path / 'train.py'}"))
    text = str(raised.value)
    assert text.startswith("the first program, ") and "kept no call (status 1):\n" in text and "no data found" in text


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("gone.py --lr 1", "gone.py: there is no such file; name a Python file, or -m MODULE"),
        ("'", "is no command line: No closing quotation"),
        ("", "give two programs"),
    ],
)
def test_what_is_no_program_is_refused_before_anything_runs(program: str, reason: str) -> None:
    with pytest.raises(FwdtraceError, match=reason):
        compare_two_programs(ProgramsPlan(program, program))
