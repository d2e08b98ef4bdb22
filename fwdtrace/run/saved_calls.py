"""The calls that one program has saved of a model, each in a file of its own, and what is loaded of one."""

from __future__ import annotations

import glob
from pathlib import Path

from fwdtrace.compare.programs.saved_backward import SavedRun
from fwdtrace.compare.programs.saved_numbers import SavedValues, values_of
from fwdtrace.compare.programs.unwrapped import Unwrapped
from fwdtrace.errors import FwdtraceError
from fwdtrace.trace import Trace
from fwdtrace.trace.head import read_head
from fwdtrace.trace.read import load_trace


def calls_of_program(file: str) -> dict[int, str]:
    """The files of all calls of the model that the program saved beside this one, its first, by their numbers."""
    head = read_head(file)
    if head is None or head.run.program is None or head.run.call is None:
        return {}
    files = {head.run.call: file}
    name, suffix = str(Path(file).with_suffix("")), Path(file).suffix
    for sibling in glob.glob(f"{glob.escape(name)}.call*{suffix}"):
        other = read_head(sibling)
        if other is None or other.run.program != head.run.program or other.run.call is None:
            continue
        if (other.model.class_name, other.model.name, other.model.path) == (
            head.model.class_name,
            head.model.name,
            head.model.path,
        ):
            files[other.run.call] = sibling
    return files


def calls_by_step(calls: dict[int, str]) -> list[list[str]]:
    """The files of calls in groups, one for each step of the optimizer that followed them; of a last one none."""
    steps: list[list[str]] = []
    open_step: list[str] = []
    for number in sorted(calls):
        open_step.append(calls[number])
        head = read_head(calls[number])
        if head is not None and head.run.stepped:
            steps.append(open_step)
            open_step = []
    return steps


def loaded_side(file: str) -> SavedRun:
    """The run in a file; FwdtraceError if it holds no numbers."""
    trace = load_trace(file)
    values = values_of(trace, file)
    if values is None:
        raise FwdtraceError(f"{file}: holds no values, as the other calls of its program do; record them again")
    return side_of(trace, values)


def side_of(trace: Trace, values: SavedValues) -> SavedRun:
    """A run without what only wraps its model."""
    unwrapped = Unwrapped(trace)
    return SavedRun(unwrapped.trace(), values, unwrapped.step(values.step))
