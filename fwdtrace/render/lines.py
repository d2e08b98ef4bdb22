"""Lines made of styled pieces: printed with colours where there are any, in ASCII where nothing else is taken."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.segment import Segment, Segments

Line = list[tuple[str, str]]
"""Pieces of text, each with the style it has where there are colours."""

# One for one, so that what is aligned stays aligned.
_SYMBOLS = "×→…✗·│─"
_ASCII = str.maketrans(_SYMBOLS, "x>~X-|-")


def plain(lines: Iterable[Line]) -> str:
    """The lines without styles."""
    return "\n".join("".join(text for text, _ in line).rstrip() for line in lines)


def print_lines(lines: Iterable[Line], console: Console) -> None:
    """Print the lines as they are: text, never markup."""
    takes_symbols = _takes(console.encoding)
    pieces = []
    for line in lines:
        for text, style in _without_trailing_space(line):
            shown = text if takes_symbols else text.translate(_ASCII)
            pieces.append(Segment(shown, console.get_style(style) if style else None))
        pieces.append(Segment.line())
    console.print(Segments(pieces), end="", crop=False)


def _without_trailing_space(line: Line) -> Line:
    while line and not line[-1][0].strip():
        line = line[:-1]
    return [*line[:-1], (line[-1][0].rstrip(), line[-1][1])] if line else []


def _takes(encoding: str) -> bool:
    try:
        _SYMBOLS.encode(encoding)
    except (LookupError, UnicodeEncodeError):
        return False
    return True
