"""Text in the cells of a terminal: escaped where it would not be seen, cut, padded, wrapped; and numbers in short."""

from __future__ import annotations

import textwrap
import unicodedata

from rich.cells import cell_len, chop_cells, set_cell_size

_NOT_SEEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
"""Categories of characters that move the cursor, hide, or turn text around."""

_SIZES = ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "k"))


def printable(text: str, encoding: str = "utf-8") -> str:
    """The text on one line, with everything escaped that would not be seen as itself."""
    if text.isascii() and text.isprintable():
        return text
    shown = "".join(
        character.encode("unicode_escape").decode() if unicodedata.category(character) in _NOT_SEEN else character
        for character in text
    )
    return shown.encode(encoding, "backslashreplace").decode(encoding)


def cut(text: str, width: int) -> str:
    """The text in at most `width` cells, ending in … if it was longer."""
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, width - 1).rstrip(" ") + "…" if width > 0 else ""


def cut_left(text: str, width: int) -> str:
    """The end of the text in at most `width` cells, beginning with … if it was longer."""
    if cell_len(text) <= width:
        return text
    while cell_len(text) > max(width - 1, 0):
        text = text[1:]
    return f"…{text}" if width > 0 else ""


def padded(text: str, width: int) -> str:
    """The text in at least `width` cells, spaces added on the right."""
    return text + " " * (width - cell_len(text))


def wrapped(text: str, width: int) -> list[str]:
    """The text in lines of at most `width` cells."""
    width = max(width, 10)
    lines = textwrap.wrap(text, width, break_on_hyphens=False)
    return [part for line in lines for part in (chop_cells(line, width) if cell_len(line) > width else [line])]


def count(number: int, *, short: bool = False) -> str:
    """`62,006`, or `62.0k` in short; nothing for none."""
    if not number:
        return ""
    size, letter = next(((size, letter) for size, letter in _SIZES if number >= size), (1, ""))
    return f"{number / size:.1f}{letter}" if short and letter else f"{number:,}"


def duration(microseconds: float) -> str:
    """`640 µs`, `12.3 ms` or `1.25 s`."""
    if microseconds < 1000:
        return f"{microseconds:.0f} µs"
    if microseconds < 1_000_000:
        return f"{microseconds / 1000:.1f} ms"
    return f"{microseconds / 1_000_000:.2f} s"
