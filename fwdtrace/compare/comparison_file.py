"""Comparison -> JSON: the format and its history, and how it is written.

`fwdtrace.comparison/1`, since 0.1.0: the first format. `trace/schema/comparison-1.json` is its JSON Schema.

Within a version a field may be added. Whatever takes a field away or gives it another meaning is a new version.
"""

from __future__ import annotations

import dataclasses
import json
import os
from typing import Any, TextIO

from fwdtrace.compare.comparison import Carried, Comparison, Difference, Origin
from fwdtrace.trace.files import replacing
from fwdtrace.trace.rows import row_of

FORMAT = "fwdtrace.comparison/1"

_ROWS = ("differences", "inventory", "experiments", "findings")
# Left out when nobody asked to measure them.
_OPTIONAL = {
    Difference: ("target", "mode", "round"),
    Carried: ("mechanism", "file", "line"),
    Origin: ("other_path", "apart"),
}


def save_comparison(comparison: Comparison, file: str | os.PathLike[str]) -> None:
    """Write the comparison to a file, whole or not at all; OSError if that cannot be done."""
    with replacing(file) as path, path.open("w", encoding="ascii", newline="\n") as stream:
        write_comparison(comparison, stream)


def write_comparison(comparison: Comparison, stream: TextIO) -> None:
    """Write the comparison as one JSON document in ASCII, one difference, experiment or finding a line."""
    head: dict[str, Any] = {
        "format": FORMAT,
        "kind": comparison.kind,
        "equal": comparison.equal,
        "verdict": comparison.verdict,
        "fix": comparison.fix,
        "origin": _json(comparison.origin),
        "versions": _json(comparison.versions),
        "model": _json(comparison.model),
        "seed": comparison.seed,
        **({"other": _json(comparison.other), "growth": _json(comparison.growth)} if comparison.other else {}),
        "copies": comparison.copies,
        "notes": list(comparison.notes),
    }
    parts = [f'"{key}": {json.dumps(value, allow_nan=False)}' for key, value in head.items()]
    for key in _ROWS:
        rows = ",\n  ".join(json.dumps(_json(row), allow_nan=False) for row in getattr(comparison, key))
        parts.append(f'"{key}": [\n  {rows}]' if rows else f'"{key}": []')
    stream.write("{" + ",\n ".join(parts) + "}\n")


def _json(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_json(part) for part in value]
    if not dataclasses.is_dataclass(value) or type(value).__module__ != Comparison.__module__:
        return row_of(value)
    optional = _OPTIONAL.get(type(value), ())
    return {
        "class" if field.name == "class_name" else field.name: _json(part)
        for field in dataclasses.fields(value)
        if (part := getattr(value, field.name)) is not None or field.name not in optional
    }
