"""JSON -> Trace: how a saved trace is read, row by row, and what is refused and why."""

from __future__ import annotations

import os
from typing import Any

from fwdtrace.errors import TraceFileError
from fwdtrace.trace.json_stream import CutShort, JSONStream, NotJSON
from fwdtrace.trace.rows import Shared, Wrong, read_at, reader_of
from fwdtrace.trace.trace import FORMAT, HEADS, MAY_LACK, ROWS, Trace


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
        reason = f"is not JSON: {error}; name a file that fwdtrace saved"
    except _Refused as error:
        reason = str(error)
    raise TraceFileError(f"{os.fspath(file)} {reason}")


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
    """Refuse a row that names a call which is not there, or not there yet."""
    known: set[int | None] = {None}
    last = -1
    for number, call in enumerate(trace.calls):
        if call.id <= last:
            raise Wrong(f"calls[{number}].id", f"must be above {last}, the one before, not {call.id}")
        if call.parent not in known:
            raise Wrong(f"calls[{number}].parent", f"must be the id of an earlier call, not {call.parent}")
        last = call.id
        known.add(last)
    for key, ids in (
        ("ops[{}].parent", [op.parent for op in trace.ops or ()]),
        ("findings[{}].call", [finding.call for finding in trace.findings]),
    ):
        for number, id in enumerate(ids):
            if id not in known:
                raise Wrong(key.format(number), f"must be the id of a call, not {id}")
