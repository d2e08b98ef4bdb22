"""Text in the cells of a terminal: escaped where it would not be seen, cut, padded, wrapped; and numbers in short."""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Sequence
from itertools import takewhile

from rich.cells import cell_len, chop_cells, set_cell_size

LEAST_APART = 4
"""In fewer cells there is no room to tell texts apart that begin alike."""

_NOT_SEEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
"""Categories of characters that move the cursor, hide, or turn text around."""

_SIZES = ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "k"))
_BYTES = ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))


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


def cut_apart(texts: Sequence[str], width: int) -> list[str]:
    """Each text in at most `width` cells: cut at its end, and in its middle where two would look alike."""
    shown = [cut(text, width) for text in texts]
    if width < LEAST_APART:
        return shown
    alike: dict[str, list[int]] = {}
    for number, text in enumerate(shown):
        alike.setdefault(text, []).append(number)
    for numbers in alike.values():
        group = list(dict.fromkeys(texts[number] for number in numbers))
        if len(group) < 2:
            continue
        pairs = zip(min(group), max(group), strict=False)  # what these two begin with, all begin with
        same = sum(1 for _ in takewhile(lambda letters: letters[0] == letters[1], pairs))
        kept = min(same, max(width // 3, 1))
        # what differs begins behind …, and each text is cut once more where that is too long
        parted = dict(zip(group, cut_apart([text[same:] for text in group], width - kept - 1), strict=True))
        for number in numbers:
            text = texts[number]
            shown[number] = cut(f"{text[:kept]}…{parted[text]}", width)
    return shown


def cut_middle(text: str, width: int) -> str:
    """The text in at most `width` cells, with … in place of its middle if it was longer."""
    if cell_len(text) <= width:
        return text
    head = set_cell_size(text, max(width - 1, 0) // 3).rstrip(" ")
    start, room = len(text), width - 1 - cell_len(head)
    while start and (room := room - cell_len(text[start - 1])) >= 0:
        start -= 1
    return f"{head}…{text[start:]}" if width > 0 else ""


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
    for size, letter in _SIZES if short else ():
        if number >= size:
            return f"{number / size:.1f}{letter}"
    return f"{number:,}"


def number(value: float, digits: int = 3) -> str:
    """A measured number to this many digits, as short as that goes: `0.123`, `-1234`, `1.2e-5`."""
    if 100 <= abs(value) < 10_000:
        return f"{value:.0f}"
    text = f"{value:.{digits}g}" if abs(value) >= 0.001 or not value else f"{value:.{digits - 1}e}"
    mantissa, _, exponent = text.partition("e")
    return f"{mantissa}e{int(exponent)}" if exponent else text


def duration(microseconds: float) -> str:
    """`640 µs`, `12.3 ms` or `1.25 s`."""
    if microseconds < 1000:
        return f"{microseconds:.0f} µs"
    if microseconds < 1_000_000:
        return f"{microseconds / 1000:.1f} ms"
    return f"{microseconds / 1_000_000:.2f} s"


def size(number: int) -> str:
    """`812 B`, `18.4 KiB`; nothing for none."""
    if not number:
        return ""
    unit, name = next(((unit, name) for unit, name in _BYTES if number >= unit), (1, "B"))
    return f"{number / unit:.1f} {name}" if name != "B" else f"{number} B"


def megabytes(number: int) -> str:
    """`0.25 MB`, `102.2 MB`, in millions of bytes, as models are measured; `812 B` for less than a hundredth of one."""
    if number < 10_000:
        return f"{number:,} B"
    return f"{number / 10**6:.2f} MB" if number < 10**7 else f"{number / 10**6:,.1f} MB"
