"""A saved trace as texts, for whom the rows of many traces are too many to be read.

A file that `save` wrote has a row in each line. Times, statistics, memory and the name of the run's own device are
taken out of these texts, so that two ranks which did the same have the same ones.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TextIO

from fwdtrace.trace.head import Head
from fwdtrace.trace.rows import Wrong, read_at, reader_of
from fwdtrace.trace.trace import FORMAT, HEADS

_ADDRESS = re.compile(r"0x[0-9a-f]{6,}")
_SECTION = re.compile(r' "(\w+)": \[')
_CHUNK = 1 << 22
"""About how many characters are looked at at once."""


@dataclass(frozen=True)
class RawTrace:
    """What is known of a trace without reading its rows.

    `digest` is the same for traces whose calls and ops are alike; `durations` are those of the calls, in order, and
    `outermost` is the time in the calls that no other call made. `findings` and `gradients` are these rows as JSON.
    """

    head: Head
    digest: bytes
    durations: array[float]
    outermost: float
    findings: tuple[str, ...]
    gradients: tuple[str, ...]


def read_raw(file: str | os.PathLike[str]) -> RawTrace | None:
    """The trace in a file as texts; None if it is no trace that was written row by row."""
    with open(file, encoding="utf-8") as stream:
        head = _head(stream)
        if head is None:
            return None
        device = f'"device": "{head.run.device}"'
        digest, durations, outermost = hashlib.blake2b(digest_size=16), array("d"), 0.0
        others: dict[str, list[str]] = {}
        while lines := stream.readlines(_CHUNK):
            text = "\n" + "".join(lines)
            start = 0 if others else _after_rows(text)
            rows, rest = text[1:start], text[start:]
            outermost += sum(_outermost(rows))
            rows = _taken_out(rows, durations).replace(device, "")
            digest.update((_ADDRESS.sub("0x", rows) if "0x" in rows else rows).encode())
            _collect(rest, others)
    return RawTrace(
        head,
        digest.digest(),
        durations,
        outermost,
        tuple(others.get("findings", ())),
        tuple(others.get("gradients", ())),
    )


def _head(stream: TextIO) -> Head | None:
    """The head, which ends where the calls begin; None if there is none, or if the calls are not rows of their own."""
    lines = []
    for line in stream:
        if line.startswith(' "calls": ['):
            break
        lines.append(line)
        if len(lines) > len(HEADS) + 1:
            return None
    try:
        parts = json.loads("".join(lines).rstrip().removesuffix(",") + "}")
        if parts["format"] != FORMAT:
            return None
        return Head(*(read_at(key, reader_of(cls), parts.get(key), {}) for key, cls in HEADS.items()))
    except (ValueError, KeyError, TypeError, Wrong, RecursionError):
        return None


def _taken_out(rows: str, durations: array[float]) -> str:
    """The rows without what is measured; the times of calls are added to the durations. A regex would take longer."""
    first, *parts = rows.split('"duration_us": ')
    kept = [first]
    for part in parts:
        number, _, rest = part.partition(",")
        if rest.startswith(' "error"'):  # and not the time of a backward, which ends its object
            durations.append(float(number))
        kept.append(rest if not number.endswith("}") else part.partition("}")[2])
    rows = "".join(kept)
    for name, end in (("host_us", ","), ("memory_bytes", ","), ("stats", "}")):
        first, *parts = rows.split(f'"{name}": ')
        rows = first + "".join(part.partition(end)[2] for part in parts)
    return rows


def _outermost(rows: str) -> Iterator[float]:
    """The times of the calls that no call made."""
    place = rows.find('"parent": null')
    while place >= 0:
        end = rows.find("\n", place)
        _, found, rest = rows[place:end].partition('"duration_us": ')
        if found:
            yield float(rest.partition(",")[0])
        place = rows.find('"parent": null', end)


def _after_rows(text: str) -> int:
    """Where the rows of calls and ops end in a text: where another list begins."""
    place = text.find('\n "')
    while place >= 0 and text.startswith('\n "ops": [', place):
        place = text.find('\n "', place + 1)
    return place + 1 if place >= 0 else len(text)


def _collect(text: str, others: dict[str, list[str]]) -> None:
    """Add the rows of the lists in a text to those so far; the text may begin within the latest list."""
    for line in text.splitlines():
        match = _SECTION.match(line)
        if match is not None:
            others[match[1]] = others.pop(match[1], [])
        elif line.startswith("  {") and others:
            list(others.values())[-1].append(_row(line))


def _row(line: str) -> str:
    """The JSON of the row in a line, without the comma or the brackets behind it."""
    for end in ("}],", "}]}", "}]", "},"):
        if line.endswith(end):
            return line[2 : len(line) - len(end) + 1]
    return line[2:]
