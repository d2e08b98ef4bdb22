"""Trace -> CSV for a spreadsheet or a data frame: a row for every call and op, none folded, in order of beginning."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator

from fwdtrace.render.marks import marks_of
from fwdtrace.render.numbers import NO_GRADIENT, STATISTICS, Numbers
from fwdtrace.render.words import printable
from fwdtrace.trace import Call, Event, Leaf, Op, TensorMeta, Trace, tensors_in
from fwdtrace.trace.text import source_text

COLUMNS = (
    "id", "parent", "depth", "kind", "path", "class", "nth", "entry", "inputs", "outputs", "parameters", "duration_us",
    "host_us", "flops", "memory_bytes", "backward_us", "nan", "inf", "hooks_fired", "hooks_skipped", "file", "line",
    "function", "code", "error_type", "error", "sources", "self_us", "mean", "std", "min", "max", "grad_norm", "marks",
    "cold_us",
)  # fmt: skip

_FORMULA = re.compile(r"[=+\-@].*[^\d.]")


def csv_text(trace: Trace) -> str:
    """The trace as CSV with a header; an empty cell is what was not measured, or the path of a module outside the tree.

    A tensor is `x float32[1,3,32,32]`, a value `scale=2.0`; there is `; ` between them. `sources` says of each tensor
    in the inputs which call or op gave it, by its `id`, or what else it was; nothing where that is not known.
    `grad_norm` is that of the parameters of the module, `none` if none of them got a gradient. `marks` names findings.
    """
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for cells in rows_of(trace):
        writer.writerow({key: _text(cell) if isinstance(cell, str) else cell for key, cell in cells.items()})
    return stream.getvalue()


def rows_of(trace: Trace) -> Iterator[dict[str, object]]:
    """The cells of each row by their column; what was not measured is None, or not there."""
    numbers, marks = Numbers(trace), marks_of(trace)
    depths: dict[int | None, int] = {call.id: call.depth for call in trace.calls}
    for event in trace.events:
        cells = _call(event) if isinstance(event, Call) else {"depth": depths.get(event.parent, -1) + 1, "kind": "op"}
        yield cells | _shared(event) | _numbers(event, numbers) | {"marks": "; ".join(marks.get(event.id, ()))}


def _call(call: Call) -> dict[str, object]:
    return {
        "depth": call.depth,
        "kind": "call",
        "path": call.path,
        "class": call.class_name,
        "nth": call.nth,
        "entry": call.entry,
        "parameters": call.parameters,
        "duration_us": call.duration_us,
        "host_us": call.host_us,
        "cold_us": call.cold_us,
        "flops": call.flops,
        "memory_bytes": call.memory_bytes,
        "backward_us": call.backward.duration_us if call.backward else None,
        "hooks_fired": "; ".join(hook.name for hook in call.hooks if hook.fired),
        "hooks_skipped": "; ".join(hook.name for hook in call.hooks if not hook.fired and "backward" not in hook.kind),
    }


def _shared(event: Event) -> dict[str, object]:
    """The cells that calls and ops have in common."""
    cells: dict[str, object] = {
        "id": event.id,
        "parent": event.parent,
        "inputs": "; ".join(map(_leaf, event.inputs)),
        "outputs": "; ".join(map(_leaf, event.outputs)),
    }
    sources = [source_text(tensor) for tensor in tensors_in(event.inputs)]
    if any(sources):
        cells["sources"] = "; ".join(sources)
    if isinstance(event, Op):
        cells["path"] = event.name
    if event.site:
        site = event.site
        cells |= {"file": site.file, "line": site.line, "function": site.function, "code": site.code}
    if event.error:
        cells |= {"error_type": event.error.type, "error": event.error.message}
    if event.nonfinite:
        cells |= {"nan": event.nonfinite.nan, "inf": event.nonfinite.inf}
    return cells


def _numbers(event: Event, numbers: Numbers) -> dict[str, object]:
    """The numbers that are worked out from more than one field; of statistics those of the first output."""
    cells: dict[str, object] = {key: numbers.of(event, key) for key in STATISTICS}
    norm = numbers.of(event, "grad")
    return cells | {"self_us": numbers.of(event, "self"), "grad_norm": "none" if norm == NO_GRADIENT else norm}


def _leaf(leaf: Leaf) -> str:
    if isinstance(leaf, TensorMeta):
        return f"{leaf.name} {leaf.dtype}[{','.join(map(str, leaf.shape))}]".lstrip()
    return f"{leaf.name}={leaf.value}" if leaf.name else leaf.value


def _text(text: str) -> str:
    """The text on one line, and with ' before what a spreadsheet would take for a formula and compute."""
    text = printable(text)
    return f"'{text}" if _FORMULA.match(text) else text
