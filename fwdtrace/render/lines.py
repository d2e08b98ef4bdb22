"""Lines made of styled pieces: printed in colours if the console has any, and in ASCII if it takes nothing else."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from itertools import islice

from rich.cells import cell_len
from rich.console import Console
from rich.segment import Segment, Segments

from fwdtrace.render import words
from fwdtrace.render.words import cut

Line = list[tuple[str, str]]
"""Pieces of text, each with its style, which is seen if there are colours."""

# One for one, so that what is aligned stays aligned.
_SYMBOLS = "×→…✗·µ⋯├└│╴┄─±█"
_ASCII = str.maketrans(_SYMBOLS, "x>~X-u~|`|-~-~#")
LINES_AT_ONCE = 500
LEAST_COLUMN = 8
"""A column of fewer cells is not worth reading: its text stands below the others, or at the margin."""
MARKS = {"✗": "red", "=": "green"}


def plain(lines: Iterable[Line], width: int) -> str:
    """The lines without styles, no wider than `width` cells."""
    return "\n".join("".join(text for text, _ in fitting(line, max(width, 1))) for line in lines)


def in_columns(cells: list[str], widths: list[int], *, mark: str = " ", style: str = "") -> Iterator[Line]:
    """A row whose texts are wrapped in their columns, with a mark before it."""
    if min(widths) < LEAST_COLUMN:
        yield from _below_one_another(cells, sum(widths) + len(widths) + 1, mark, style)
        return
    parts = [
        textwrap.wrap(text, size, break_on_hyphens=False) or [""] for text, size in zip(cells, widths, strict=True)
    ]
    if cells[0].startswith("  "):
        parts[0] = [f"  {line}" for line in textwrap.wrap(cells[0].strip(), widths[0] - 2)]
    for number in range(max(map(len, parts))):
        texts = [lines[number] if number < len(lines) else "" for lines in parts]
        text = " ".join(f"{text:<{size}}" for text, size in zip(texts, widths, strict=True)).rstrip()
        shown = mark if number == 0 else " "
        yield [(f"{shown} ", MARKS.get(shown, "")), (text, style or ("red" if mark == "✗" else ""))]


def _below_one_another(cells: list[str], width: int, mark: str, style: str) -> Iterator[Line]:
    """The cells of a row where there is no room for columns: the first behind the mark, the others indented."""
    first, *others = cells
    yield from wrapped(first.strip(), width, "  ", style or MARKS.get(mark, ""), first=f"{mark} ")
    for text in others:
        yield from wrapped(text, width, "    ", style, first="    ")


def wrapped(text: str, width: int, indent: str, style: str, *, first: str = "") -> Iterator[Line]:
    """The text on lines of this width, the first behind `first`, the others behind `indent`, if these leave room."""
    if width < len(indent) + LEAST_COLUMN:
        first, indent = first.lstrip(), ""
    for number, line in enumerate(words.wrapped(text, width - max(len(first), len(indent)))):
        yield [(f"{indent if number else first}{line}", style)]


def print_lines(lines: Iterable[Line], console: Console) -> None:
    """Print the lines as they are, text and never markup, no wider than the console."""
    takes_symbols = _takes(console.encoding)
    remaining = iter(lines)
    while batch := list(islice(remaining, LINES_AT_ONCE)):
        pieces = []
        for line in batch:
            for text, style in fitting(line, console.width):
                shown = text if takes_symbols else text.translate(_ASCII)
                pieces.append(Segment(shown, console.get_style(style) if style else None))
            pieces.append(Segment.line())
        console.print(Segments(pieces), end="", crop=False)


def fitting(line: Line, width: int) -> Line:
    """The line without spaces at its end, and without what does not fit."""
    pieces: Line = []
    room = width
    for text, style in line:
        if room <= 0:
            break
        pieces.append((cut(text, room), style))
        room -= cell_len(text)
    while pieces and not pieces[-1][0].rstrip(" "):
        pieces.pop()
    if pieces:
        text, style = pieces.pop()
        pieces.append((text.rstrip(" "), style))
    return pieces


def _takes(encoding: str) -> bool:
    try:
        _SYMBOLS.encode(encoding)
    except (LookupError, UnicodeEncodeError):
        return False
    return True
