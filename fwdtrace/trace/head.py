"""The head of a saved trace, its versions, model and run, which stand before its rows: read without these."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from fwdtrace.trace.info import ModelInfo, RunInfo, Versions
from fwdtrace.trace.json_stream import JSONStream, NotJSON
from fwdtrace.trace.rows import Wrong, read_at, reader_of
from fwdtrace.trace.trace import FORMAT, HEADS


@dataclass(frozen=True, slots=True)
class Head:
    """How a trace came about."""

    versions: Versions
    model: ModelInfo
    run: RunInfo


def read_head(file: str | os.PathLike[str]) -> Head | None:
    """The head of the trace in a file; None if the file does not begin as a trace does."""
    parts: dict[str, Any] = {}
    try:
        with open(file, encoding="utf-8-sig") as stream:
            document = JSONStream(stream)
            document.expect("{")
            while len(parts) <= len(HEADS):
                if parts:
                    document.expect(",")
                key = document.key()
                if key != "format" and key not in HEADS:
                    return None
                parts[key] = document.value()
        if parts.get("format") != FORMAT:
            return None
        return Head(*(read_at(key, reader_of(cls), parts.get(key), {}) for key, cls in HEADS.items()))
    except (OSError, NotJSON, Wrong, ValueError, RecursionError):
        return None
