"""Many qualified names in few words: `blocks.{0…23}.conv` for `blocks.0.conv` to `blocks.23.conv`, and for no other."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

_Numbers = frozenset[int]
_Part = str | _Numbers
"""A part of a name between its dots: a text, or the numbers that stand there in one name or another."""


def in_braces(names: Iterable[str]) -> list[str]:
    """The names, those that differ in one number as one text; together the texts stand for these names exactly."""
    patterns = list(dict.fromkeys(tuple(map(_part, name.split("."))) for name in names))
    for place in range(max(map(len, patterns), default=0)):
        patterns = _merged(patterns, place)
    return [".".join(map(_text, pattern)) for pattern in patterns]


def _part(text: str) -> _Part:
    plain = text.isascii() and text.isdecimal() and str(int(text[:9])) == text
    return frozenset({int(text)}) if plain else text


def _merged(patterns: list[tuple[_Part, ...]], place: int) -> list[tuple[_Part, ...]]:
    """The patterns with those that differ in the numbers of this part alone as one, at the place of their first."""
    numbers: dict[tuple[_Part, ...], _Numbers] = {}
    for pattern in patterns:
        part = pattern[place] if place < len(pattern) else ""
        if isinstance(part, frozenset):
            others = (*pattern[:place], "", *pattern[place + 1 :])
            numbers[others] = numbers.get(others, frozenset()) | part
        else:
            numbers[pattern] = frozenset()
    return [(*others[:place], found, *others[place + 1 :]) if found else others for others, found in numbers.items()]


def _text(part: _Part) -> str:
    """`0` for one number, `{0…23}` for those that follow one another, `{0, 2, 5…9}` for others."""
    if isinstance(part, str):
        return part
    numbers = sorted(part)
    if len(numbers) == 1:
        return str(numbers[0])
    runs = [[numbers[0]]]
    for before, number in pairwise(numbers):
        if number == before + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return f"{{{', '.join(map(_run, runs))}}}"


def _run(numbers: list[int]) -> str:
    separator = "…" if len(numbers) > 2 else ", "
    return str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]}{separator}{numbers[-1]}"
