"""Text in cells of the terminal: only what can be seen, cut and wrapped by what it takes on the screen."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from fwdtrace.render.words import count, cut, cut_left, duration, padded, printable, wrapped


@pytest.mark.parametrize(
    ("text", "shown"),
    [("plain", "plain"), ("a\nb", "a\\nb"), ("\x1b[31m", "\\x1b[31m"), ("a\u202eb", "a\\u202eb"), ("漢字", "漢字")],
)
def test_what_would_not_be_seen_as_itself_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_what_the_output_does_not_take_is_escaped() -> None:
    assert printable("größe", "ascii") == "gr\\xf6\\xdfe"


@pytest.mark.parametrize(
    ("width", "end", "beginning"),
    [(6, "layers", "layers"), (5, "laye…", "…yers"), (1, "…", "…"), (0, "", "")],
)
def test_a_text_that_is_too_long_is_cut_at_one_end_and_says_so(width: int, end: str, beginning: str) -> None:
    assert (cut("layers", width), cut_left("layers", width)) == (end, beginning)


def test_letters_two_cells_wide_are_cut_and_padded_by_their_cells() -> None:
    assert cut("漢字漢字", 5) == "漢字…"
    assert cut_left("漢字漢字", 5) == "…漢字"
    assert padded("漢字", 6) == "漢字  "


def test_a_text_is_wrapped_at_spaces_and_a_word_that_is_too_long_anywhere() -> None:
    assert wrapped("some words in a row", 10) == ["some words", "in a row"]
    assert wrapped("x" * 25, 10) == ["x" * 10, "x" * 10, "x" * 5]
    assert all(cell_len(line) <= 10 for line in wrapped("漢" * 30, 10))


@pytest.mark.parametrize(
    ("number", "whole", "short"),
    [(0, "", ""), (850, "850", "850"), (62_006, "62,006", "62.0k"), (3_000_000_000, "3,000,000,000", "3.0B")],
)
def test_a_count_is_written_whole_or_in_short(number: int, whole: str, short: str) -> None:
    assert (count(number), count(number, short=True)) == (whole, short)


@pytest.mark.parametrize(("microseconds", "text"), [(640.1, "640 µs"), (12_345.0, "12.3 ms"), (1_250_000.0, "1.25 s")])
def test_a_time_is_in_the_unit_that_suits_it(microseconds: float, text: str) -> None:
    assert duration(microseconds) == text
