"""Trace -> the user's own code, with the shapes that flowed through each line beside it."""

from __future__ import annotations

import ast
import os
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from rich.cells import cell_len
from rich.console import Console

from fwdtrace.render import calls, shapes, words
from fwdtrace.render.closing import findings_below
from fwdtrace.render.lines import Line, plain, print_lines
from fwdtrace.render.only import only as only_matching
from fwdtrace.render.sheet import Sheet, sheet_for
from fwdtrace.trace import Call, Event, Op, Trace
from fwdtrace.trace.text import multiplied

MOST_QUIET_LINES = 4
"""More lines than this in a row that called nothing are left out, and counted."""
MOST_SHAPES = 4
SHARE_OF_CODE = 0.55
LEAST_NOTE = 16
"""With fewer cells beside the code, what a line called stands below it."""
LARGEST_SOURCE = 10 * 2**20
"""Bytes; a larger file is not opened, as nobody has written it by hand."""


@dataclass
class _Function:
    """What ran in one function: the calls and ops by line, and the calls of the modules whose forward ran it."""

    file: str
    name: str
    texts: dict[int, str] = field(default_factory=dict)
    events: dict[int, list[Event]] = field(default_factory=dict)
    callers: dict[int, Call] = field(default_factory=dict)


def source_text(trace: Trace, *, width: int = 80, only: Sequence[str] = ()) -> str:
    """The functions that made the calls, line by line, in at most `width` cells.

    `only` are patterns for the calls and ops to show.
    """
    return plain(_lines(trace, only, sheet_for(trace, width)), width)


def print_source(trace: Trace, console: Console, *, only: Sequence[str] = ()) -> None:
    """Print the functions as wide as the console is."""
    print_lines(_lines(trace, only, sheet_for(trace, console.width, console.encoding)), console)


def _lines(trace: Trace, patterns: Sequence[str], sheet: Sheet) -> Iterator[Line]:
    part, left_out = only_matching(trace, patterns)
    functions = _functions(part)
    if not functions:
        yield [("no line of a forward called anything", "dim")]
    for number, function in enumerate(functions):
        if number:
            yield []
        yield from _header(function, sheet)
        yield from _body(function, trace, sheet)
    if patterns:
        yield []
        note = calls.left_out_text(patterns, len(part.events), left_out, sheet)
        yield from ([(text, "dim")] for text in words.wrapped(note, sheet.width))
    yield from findings_below(trace, sheet)


def _functions(trace: Trace) -> list[_Function]:
    """The functions in which calls and ops were made by a module, in order of the first."""
    functions: dict[tuple[str, str], _Function] = {}
    for event in trace.events:
        parent = trace.caller(event)
        if parent is None or event.site is None:
            continue
        if parent.site == event.site and parent.parent is not None:
            continue  # made by torch on behalf of that line, as the layers of an nn.Sequential are
        site = event.site
        function = functions.setdefault((site.file, site.function), _Function(site.file, site.function))
        function.texts[site.line] = site.code
        function.events.setdefault(site.line, []).append(event)
        function.callers[parent.id] = parent
    return list(functions.values())


def _header(function: _Function, sheet: Sheet) -> Iterator[Line]:
    callers = list(function.callers.values())
    names = list(dict.fromkeys(calls.name(call, None, sheet) for call in callers))
    who = names[0] if len(names) == 1 else f"{names[0]} … {names[-1]}"
    times = f" {multiplied(len(callers))}" if len(callers) > 1 else ""
    title = sheet.text(function.name)
    room = sheet.width - cell_len(title)
    yield [(words.cut(title, sheet.width), "bold"), (words.cut(f"  {who}{times}", room), "cyan")]


def _body(function: _Function, trace: Trace, sheet: Sheet) -> Iterator[Line]:
    code = _code_of(function)
    numbers = len(str(max(code, default=0)))
    room = sheet.width - numbers - 3
    longest = max((cell_len(text) for text in code.values()), default=0)
    for_code = min(longest, int(room * SHARE_OF_CODE))
    for_notes = room - for_code - 2
    below = for_notes < LEAST_NOTE
    if below:
        for_code, for_notes = room, room - 2
    quiet: list[int] = []
    for line, text in code.items():
        events = function.events.get(line)
        if not events:
            quiet.append(line)
            continue
        yield from _quiet_lines(quiet, code, numbers, for_code, sheet)
        quiet = []
        notes = words.wrapped(_summary(events, trace, sheet), for_notes)
        failed = any(event.error is not None for event in events)
        shown = words.cut(sheet.text(text), for_code)
        style = "red" if failed else "cyan"
        beside = "" if below or not notes else f"  {notes.pop(0)}"
        yield [(f"{line:>{numbers}} │ ", "dim"), (words.padded(shown, for_code), ""), (beside, style)]
        margin = " " * (numbers + 3 + (0 if below else for_code))
        yield from ([(margin, ""), (f"  {note}", style)] for note in notes)
    yield from _quiet_lines(quiet, code, numbers, for_code, sheet)


def _quiet_lines(quiet: list[int], code: dict[int, str], numbers: int, room: int, sheet: Sheet) -> Iterator[Line]:
    if len(quiet) > MOST_QUIET_LINES:
        yield [(f"{'':>{numbers}} │ … {len(quiet)} lines that called nothing", "dim")]
        return
    for line in quiet:
        yield [(f"{line:>{numbers}} │ ", "dim"), (words.cut(sheet.text(code[line]), room), "dim")]


def _summary(events: list[Event], trace: Trace, sheet: Sheet) -> str:
    """What a line called and what came out; equal ones are shown once, with their number."""
    groups: dict[str, list[Event]] = {}
    for event in events:
        kind = event.name if isinstance(event, Op) else event.class_name + event.entry
        groups.setdefault(kind, []).append(event)
    parts = []
    for group in groups.values():
        names = list(dict.fromkeys(calls.name(event, trace.caller(event), sheet) for event in group))
        name = names[0] if len(names) == 1 else f"{names[0]} … {names[-1]}"
        counts = Counter(shapes.outputs(event, sheet).least for event in group)
        several = len(group) > 1
        shown = list(counts.items())[: MOST_SHAPES - (len(counts) > MOST_SHAPES)]
        results = [f"{result} {multiplied(count)}" if several else result for result, count in shown]
        if len(shown) < len(counts):
            rest = len(group) - sum(count for _, count in shown)
            results.append(f"{len(counts) - len(shown)} other shapes {multiplied(rest)}")
        direct = ".forward" if isinstance(group[0], Call) and group[0].entry == "forward" else ""
        parts.append(f"{name}{direct} {', '.join(results)}")
    return " · ".join(parts)


def _code_of(function: _Function) -> dict[int, str]:
    """The lines of the function, without their common indentation; only those of the calls if the file changed."""
    try:
        text = _read(function.file)
        lines = text.splitlines()
        tree = ast.parse(text)
    except (OSError, ValueError, SyntaxError, RecursionError, MemoryError):
        return dict(sorted(function.texts.items()))
    if any(line > len(lines) or lines[line - 1].strip() != code for line, code in function.texts.items()):
        return dict(sorted(function.texts.items()))
    first, last = min(function.texts), max(function.texts)
    around = [
        node
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        and node.lineno <= first
        and (node.end_lineno or 0) >= last
    ]
    if around:
        innermost = max(around, key=lambda node: node.lineno)
        first, last = innermost.lineno, innermost.end_lineno or last
    kept = {line: lines[line - 1].expandtabs() for line in range(first, last + 1)}
    margin = min((len(text) - len(text.lstrip()) for text in kept.values() if text.strip()), default=0)
    return {line: text[margin:].rstrip() for line, text in kept.items()}


def _read(file: str) -> str:
    """The text of a file; OSError or ValueError if it is no regular file, too large for source code, or no text."""
    # A trace may name any file: a device may never end, and to open one can do things.
    status = os.stat(file)
    # What has no size is empty or, as below /proc, waits for what may never come.
    if not stat.S_ISREG(status.st_mode) or not 0 < status.st_size <= LARGEST_SOURCE:
        raise ValueError(f"{file} is no source code")
    with open(file, encoding="utf-8") as stream:
        return stream.read(LARGEST_SOURCE)
