"""JSON -> Trace: how a saved trace is read, row by row, and what is refused and why."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from fwdtrace.errors import TraceFileError
from fwdtrace.trace.json_stream import CutShort, JSONStream, NotJSON
from fwdtrace.trace.rows import Shared, Wrong, read_at, reader_of
from fwdtrace.trace.trace import FORMAT, HEADS, MAY_LACK, ROWS, Trace
from fwdtrace.trace.values import Call, Op, Source, TensorMeta


def load_trace(file: str | os.PathLike[str]) -> Trace:
    """The trace in a file; TraceFileError if there is none that this version reads."""
    try:
        with open(file, encoding="utf-8-sig") as stream:
            return _read_trace(JSONStream(stream))
    except IsADirectoryError:
        reason = "is a folder; name a trace file in it"
    except FileNotFoundError:
        reason = "does not exist; `fwdtrace run SPEC -o FILE.json` saves a trace"
    except OSError as error:
        reason = f"cannot be read: {error.strerror}"
    except CutShort as error:
        reason = f"is cut short: {error}; record it again"
    except NotJSON as error:
        reason = f"is not JSON: {error}; {_what_to_name(os.fspath(file))}"
    except RecursionError:
        reason = "is no trace that can be read: it has lists within lists without end"
    except _Refused as error:
        reason = str(error)
    raise TraceFileError(f"{os.fspath(file)} {reason}")


def _what_to_name(file: str) -> str:
    if file.endswith((".html", ".svg", ".md", ".mmd", ".dot", ".csv", ".txt")):
        return "it is for people; name the file of -o FILE.json"
    return "name a file that fwdtrace saved"


class _Refused(Exception):
    """Why a document is not read; the text goes on from the name of its file."""


def _read_trace(document: JSONStream) -> Trace:
    if not document.token():
        raise _Refused("is empty; record it again")
    if document.token() != "{":
        document.value()
        raise _Refused(f"is JSON, but no {FORMAT}; name a file that fwdtrace saved")
    document.expect("{")
    parts: dict[str, Any] = {}
    wrong: Wrong | None = None
    shared: Shared = {}
    while not document.passes("}"):
        if parts:
            document.expect(",")
        key = document.key()
        if key in parts:
            raise NotJSON(f"the key {key[:40]!r} comes twice")
        if key in ROWS and document.token() == "[":
            parts[key], found = _rows(document, key, shared)
            wrong = wrong or found
        else:
            parts[key] = document.value()
    if document.token():
        raise NotJSON("it goes on after its end")
    _check_format(parts.get("format"))  # first of all: in another version any field may be another
    try:
        if wrong:
            raise wrong
        versions, model, run = (read_at(key, reader_of(cls), parts.get(key), shared) for key, cls in HEADS.items())
        for key in ROWS:
            if type(parts.get(key)) is not tuple and (key in parts or key not in MAY_LACK):
                raise Wrong(key, "must be a list")
        rows: list[Any] = [parts.get(key, MAY_LACK.get(key)) for key in ROWS]
        trace = Trace(versions, model, run, *rows)
        _check_references(trace)
    except Wrong as error:
        raise _Refused(f"is no trace that can be read: {error.place} {error.reason}") from None
    return trace


def _rows(document: JSONStream, key: str, shared: Shared) -> tuple[tuple[Any, ...], Wrong | None]:
    """The rows of a list, and the first thing wrong in them; the list is passed in any case."""
    read = reader_of(ROWS[key])
    rows: list[Any] = []
    wrong = None
    try:
        for row in document.items():
            if wrong:
                continue
            try:
                rows.append(read_at(f"{key}[{len(rows)}]", read, row, shared))
            except Wrong as error:
                wrong = error
    except CutShort:
        raise CutShort(f"it ends after {len(rows)} {key}") from None
    return tuple(rows), wrong


def _check_format(found: Any) -> None:
    if found == FORMAT:
        return
    if type(found) is not str:
        raise _Refused(f'is JSON, but no {FORMAT}: it has no "format"; name a file that fwdtrace saved')
    if found.startswith("fwdtrace.trace/"):
        raise _Refused(f"has the format {found[:40]!r}; this fwdtrace reads {FORMAT}. Record it again or upgrade")
    raise _Refused(f"has the format {found[:40]!r}, not {FORMAT}; name a trace that fwdtrace saved")


def _check_references(trace: Trace) -> None:
    """Refuse ids that repeat, a row that names a call which is not there yet, and a depth that is not that of its call.

    The file of values is a name beside the trace, so that a trace leads to no other place.
    """
    values = trace.run.values
    if values is not None and (values in ("", ".", "..") or any(letter in values for letter in "/\\\0")):
        raise Wrong("run.values", f"must be the name of a file beside the trace, not {values[:40]!r}")
    depths: dict[int | None, int] = {None: -1}
    _check_increasing("calls", [call.id for call in trace.calls])
    for number, call in enumerate(trace.calls):
        if call.parent not in depths:
            raise Wrong(f"calls[{number}].parent", f"must be the id of an earlier call, not {call.parent}")
        if call.depth != depths[call.parent] + 1:
            raise Wrong(f"calls[{number}].depth", f"must be {depths[call.parent] + 1}, not {call.depth}")
        if call.error is not None and call.outputs:
            raise Wrong(f"calls[{number}].outputs", "must be empty, as the call raised")
        depths[call.id] = call.depth
    ops = trace.ops or ()
    _check_increasing("ops", [op.id for op in ops])
    for number, op in enumerate(ops):
        if op.id in depths:
            raise Wrong(f"ops[{number}].id", f"must not be {op.id}, which is the id of a call")
        if op.parent not in depths:
            raise Wrong(f"ops[{number}].parent", f"must be the id of a call, not {op.parent}")
        if op.parent is not None and op.parent > op.id:
            raise Wrong(f"ops[{number}].parent", f"must be the id of an earlier call, not {op.parent}")
    for number, finding in enumerate(trace.findings):
        if finding.call not in depths:
            raise Wrong(f"findings[{number}].call", f"must be the id of a call, not {finding.call}")
    ids = {call.id for call in trace.calls} | {op.id for op in ops}
    _check_sources("calls", trace.calls, ids)
    _check_sources("ops", ops, ids)
    for number, fault in enumerate(trace.gradient_faults):
        _check_id(f"gradient_faults[{number}].event", fault.event, ids)
    for number, error in enumerate(trace.backward_errors):
        _check_id(f"backward_errors[{number}].event", error.event, ids)
        _check_id(f"backward_errors[{number}].came_through", error.came_through, ids)
        for place, writer in enumerate(error.writers):
            _check_id(f"backward_errors[{number}].writers[{place}]", writer, ids)


def _check_id(place: str, id: int | None, ids: set[int]) -> None:
    if id is not None and id not in ids:
        raise Wrong(place, f"must be the id of a call or an op, not {id}")


def _check_sources(key: str, events: Sequence[Call | Op], ids: set[int]) -> None:
    for number, event in enumerate(events):
        sides = {"inputs": event.inputs, "outputs": event.outputs}
        if isinstance(event, Call):
            inner = {"forward_inputs": event.forward_inputs or (), "forward_outputs": event.forward_outputs or ()}
            sides |= inner | {"state": event.state}
        for side, leaves in sides.items():
            for place, leaf in enumerate(leaves):
                if type(leaf) is TensorMeta and (leaf.source is not None or leaf.changed_by is not None):
                    _check_source(f"{key}[{number}].{side}[{place}]", leaf, ids)


def _check_source(place: str, leaf: TensorMeta, ids: set[int]) -> None:
    source = leaf.source
    if leaf.changed_by is not None and leaf.changed_by not in ids:
        raise Wrong(f"{place}.changed_by", f"must be the id of a call or an op, not {leaf.changed_by}")
    if source is None:
        return
    if source == Source():
        raise Wrong(f"{place}.source", "must say something")
    if (source.id is None) != (source.output is None) or (source.call is not None and source.id is None):
        raise Wrong(f"{place}.source", "must have both id and output, or neither")
    if source.id is not None and source.call is None and source.id not in ids:
        raise Wrong(f"{place}.source.id", f"must be the id of a call or an op, not {source.id}")


def _check_increasing(key: str, ids: list[int]) -> None:
    for number, (before, id) in enumerate(pairwise(ids), 1):
        if id <= before:
            raise Wrong(f"{key}[{number}].id", f"must be above {before}, the one before, not {id}")
