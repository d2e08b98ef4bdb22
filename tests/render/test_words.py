"""Texts are cut to their room, in time that grows with their length and no faster."""

from __future__ import annotations

import time
from random import Random

from rich.cells import cell_len

from fwdtrace.render.words import cut, cut_left


def test_the_end_of_a_text_is_as_much_as_fits() -> None:
    assert [cut_left("layers.0", width) for width in (0, 1, 4, 8, 9)] == ["", "…", "…s.0", "layers.0", "layers.0"]
    assert [cut_left("あいう", width) for width in (2, 3, 4, 5, 6)] == ["…", "…う", "…う", "…いう", "あいう"]


def test_what_is_cut_fits_and_no_more_would() -> None:
    chance = Random(0)
    for _ in range(500):
        text = "".join(chance.choices("ab.あé漢", k=chance.randrange(30)))
        width = chance.randrange(1, 20)
        shown = cut_left(text, width)
        assert cell_len(shown) <= width
        if shown != text:
            kept = shown[1:]
            assert text.endswith(kept)
            assert 1 + cell_len(text[len(text) - len(kept) - 1 :]) > width


def test_a_text_of_a_million_letters_is_cut_at_once() -> None:
    began = time.process_time()
    assert cut_left("あ" * 10**6, 9) == "…ああああ"
    assert cut("あ" * 10**6, 9) == "ああああ…"
    assert time.process_time() - began < 5
