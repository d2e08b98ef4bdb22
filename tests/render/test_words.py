"""Text in cells of the terminal: only what can be seen, cut and wrapped by what it takes on the screen."""

from __future__ import annotations

from random import Random

import pytest
from rich.cells import cell_len

from fwdtrace.render.words import (
    count,
    cut,
    cut_apart,
    cut_middle,
    duration,
    megabytes,
    number,
    padded,
    printable,
    wrapped,
)
from tests.helpers.growth import takes_at_most


@pytest.mark.parametrize(
    ("text", "shown"),
    [("plain", "plain"), ("a\nb", "a\\nb"), ("\x1b[31m", "\\x1b[31m"), ("a\u202eb", "a\\u202eb"), ("漢字", "漢字")],
)
def test_what_would_not_be_seen_as_itself_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_what_the_output_does_not_take_is_escaped() -> None:
    assert printable("größe", "ascii") == "gr\\xf6\\xdfe"


@pytest.mark.parametrize(
    ("width", "end", "middle"),
    [(6, "layers", "layers"), (5, "laye…", "l…ers"), (3, "la…", "…rs"), (1, "…", "…"), (0, "", "")],
)
def test_a_text_that_is_too_long_is_cut_and_says_so(width: int, end: str, middle: str) -> None:
    assert (cut("layers", width), cut_middle("layers", width)) == (end, middle)


def test_texts_that_would_look_alike_are_cut_before_what_they_differ_in() -> None:
    names = ["a_very_long_name_of_one_query", "a_very_long_name_of_one_key", "another", "a_very_long_name_of_two"]
    assert cut_apart(names, 12) == ["a_ve…one_qu…", "a_ve…one_key", "another", "a_ve…two"]
    assert cut_apart(["same and same"] * 2, 8) == ["same an…"] * 2
    assert cut_apart(["layers.0.attention", "layers.1.attention"], 8) == ["la…0.at…", "la…1.at…"]


def test_letters_two_cells_wide_are_cut_and_padded_by_their_cells() -> None:
    assert cut("漢字漢字", 5) == "漢字…"
    assert cut_middle("漢字漢字", 5) == "…漢字"
    assert padded("漢字", 6) == "漢字  "


def test_a_text_is_wrapped_at_spaces_and_a_word_that_is_too_long_anywhere() -> None:
    assert wrapped("some words in a row", 10) == ["some words", "in a row"]
    assert wrapped("x" * 25, 10) == ["x" * 10, "x" * 10, "x" * 5]
    assert all(cell_len(line) <= 10 for line in wrapped("漢" * 30, 10))


@pytest.mark.parametrize(
    ("elements", "whole", "short"),
    [(0, "", ""), (850, "850", "850"), (62_006, "62,006", "62.0k"), (3_000_000_000, "3,000,000,000", "3.0B")],
)
def test_a_count_is_written_whole_or_in_short(elements: int, whole: str, short: str) -> None:
    assert (count(elements), count(elements, short=True)) == (whole, short)


@pytest.mark.parametrize(("microseconds", "text"), [(640.1, "640 µs"), (12_345.0, "12.3 ms"), (1_250_000.0, "1.25 s")])
def test_a_time_is_in_the_unit_that_suits_it(microseconds: float, text: str) -> None:
    assert duration(microseconds) == text


def test_what_is_cut_in_its_middle_has_both_its_ends_and_fits() -> None:
    chance = Random(0)
    for _ in range(500):
        text = "".join(chance.choices("ab.あé漢", k=chance.randrange(30)))
        width = chance.randrange(1, 20)
        shown = cut_middle(text, width)
        assert cell_len(shown) <= width
        if shown != text:
            head, _, tail = shown.partition("…")
            assert text.startswith(head) and text.endswith(tail)
            assert cell_len(shown) + cell_len(text[len(text) - len(tail) - 1]) > width


@pytest.mark.parametrize(
    ("value", "text", "short"),
    [
        (0.0, "0", "0"),
        (-12.345, "-12.3", "-12"),
        (1.23e-5, "1.23e-5", "1.2e-5"),
        (4567.0, "4567", "4567"),
        (45678.0, "4.57e4", "4.6e4"),
        (-123.4, "-123", "-123"),
    ],
)
def test_a_number_is_as_short_as_its_digits(value: float, text: str, short: str) -> None:
    assert (number(value), number(value, 2)) == (text, short)


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (812, "812 B"), (248_024, "0.25 MB"), (102_228_128, "102.2 MB")]
)
def test_the_size_of_a_model_is_in_millions_of_bytes(size: int, text: str) -> None:
    assert megabytes(size) == text


def test_a_text_of_a_hundred_thousand_letters_is_cut_at_once() -> None:
    text = "あ" * 10**5

    def both_cut() -> None:
        assert cut_middle(text, 9) == "あ…あああ"
        assert cut(text, 9) == "ああああ…"

    assert takes_at_most(
        20, both_cut, lambda: [cell_len(letter) for letter in text]
    )  # not a hundred thousand times as long
