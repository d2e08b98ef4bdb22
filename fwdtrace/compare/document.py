"""The JSON document of a comparison: its format and that format's history, and how it is written to a file.

`fwdtrace.comparison/1`, since 0.1.0: the first format. `trace/schema/comparison-1.json` is its JSON Schema.

Within a version a field may be added. Whatever takes a field away or gives it another meaning is a new version.
"""

from __future__ import annotations

import dataclasses
import json
import os
from typing import Any, TextIO

from fwdtrace.trace.files import replacing
from fwdtrace.trace.rows import row_of

FORMAT = "fwdtrace.comparison/1"

LEFT_OUT_IF_NONE = {"left out if None": True}
"""The metadata of a dataclass field that the JSON lacks where it is None; the JSON says `null` for any other field."""

# The fields of a document in their order, and what it says for a kind of comparison that does not have one.
_HEAD = {"fix": "", "origin": None, "versions": None, "model": None, "seed": None}
_OF_TWO_TRACES = ("other", "around", "growth")
_OF_TWO_MODELS = ("outputs", "weights", "steps")
_ROWS = ("differences", "inventory", "experiments", "findings")


_KEYS = {"class_name": "class", "which": "pass"}
"""The keys of fields whose names are words of Python."""


def write_document(comparison: Any, stream: TextIO) -> None:
    """Write a comparison as one JSON document in ASCII, with a line for each difference, experiment and finding."""
    head: dict[str, Any] = {
        "format": FORMAT,
        "kind": comparison.kind,
        "equal": comparison.equal,
        "verdict": comparison.verdict,
        **{name: getattr(comparison, name, default) for name, default in _HEAD.items()},
        **{name: getattr(comparison, name) for name in _OF_TWO_TRACES if hasattr(comparison, name)},
        **{name: found for name in _OF_TWO_MODELS if (found := getattr(comparison, name, None))},
        "copies": getattr(comparison, "copies", ""),
        "notes": comparison.notes,
    }
    parts = [f'"{name}": {_text(value)}' for name, value in head.items()]
    for name in _ROWS:
        rows = ",\n  ".join(map(_text, getattr(comparison, name, ())))
        parts.append(f'"{name}": [\n  {rows}]' if rows else f'"{name}": []')
    stream.write("{" + ",\n ".join(parts) + "}\n")


def plain_row(value: Any) -> dict[str, Any]:
    """A dataclass as `json` takes it."""
    row: dict[str, Any] = _json(value)
    return row


def save_document(comparison: Any, file: str | os.PathLike[str]) -> None:
    """Write a comparison to a file, whole or not at all; OSError if that cannot be done."""
    with replacing(file) as path, path.open("w", encoding="ascii", newline="\n") as stream:
        write_document(comparison, stream)


def _text(value: Any) -> str:
    return json.dumps(_json(value), allow_nan=False)


def _json(value: Any) -> Any:
    """The value as `json` takes it; values of a trace are written as a trace writes them."""
    if isinstance(value, tuple):
        return [_json(part) for part in value]
    if hasattr(value, "row"):
        return value.row()
    row = row_of(value)
    if row is not value or not dataclasses.is_dataclass(value):
        return row
    return {
        _KEYS.get(field.name, field.name): _json(part)
        for field in dataclasses.fields(value)
        if (part := getattr(value, field.name)) is not None or field.metadata != LEFT_OUT_IF_NONE
    }
