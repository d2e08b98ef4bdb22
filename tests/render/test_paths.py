"""Many names in few words stand for these names and no others."""

from __future__ import annotations

import re
from itertools import product

import pytest

from fwdtrace.render.paths import in_braces


@pytest.mark.parametrize(
    ("names", "texts"),
    [
        (["fc"], ["fc"]),
        ([f"blocks.{number}.conv" for number in range(24)], ["blocks.{0…23}.conv"]),
        (["a.0", "a.1"], ["a.{0, 1}"]),
        (["a.0", "a.2", "a.5", "a.6", "a.7"], ["a.{0, 2, 5…7}"]),
        (["a.1.x", "a.0.x", "b", "a.2.x"], ["a.{0…2}.x", "b"]),
        (["a.01", "a.1"], ["a.01", "a.1"]),
        (["a.0.0", "a.0.1", "a.1.0", "a.1.1"], ["a.{0, 1}.{0, 1}"]),
        (["a.0.0", "a.0.1", "a.1.0"], ["a.{0, 1}.0", "a.0.1"]),
        ([], []),
    ],
)
def test_names_that_differ_in_a_number_are_one_text(names: list[str], texts: list[str]) -> None:
    assert in_braces(names) == texts


def test_the_texts_stand_for_the_names_exactly() -> None:
    for chosen in range(1, 256, 7):
        every = [f"s.{a}.b.{b}" for a, b in product(range(4), range(2))]
        names = {name for place, name in enumerate(every) if chosen >> place & 1}
        assert set(written_out(in_braces(sorted(names)))) == names


def written_out(texts: list[str]) -> list[str]:
    """The names that texts in braces stand for."""
    found = []
    for text in texts:
        parts = [_numbers(part) if part.startswith("{") else [part] for part in re.findall(r"\{[^}]*\}|[^.{]+", text)]
        found += [".".join(name) for name in product(*parts)]
    return found


def _numbers(part: str) -> list[str]:
    numbers: list[str] = []
    for run in part.strip("{}").split(", "):
        first, _, last = run.partition("…")
        numbers += map(str, range(int(first), int(last or first) + 1))
    return numbers
