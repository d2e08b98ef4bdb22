"""Columns take the room there is: aligned on the screen, cut, shortened or dropped where it is too little."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from fwdtrace.render.columns import BY_KEY
from fwdtrace.render.tree import tree_text
from tests.helpers.drawings import below_root, blocks, drawn, failing, row_of, rows
from tests.helpers.growth import takes_at_most
from tests.helpers.traces import call, everything, lenet, odd, tensor, trace

COLUMNS = tuple(BY_KEY)


def test_a_narrow_terminal_drops_columns_and_says_which() -> None:
    assert tree_text(lenet(direct=True), width=40) == drawn(
        """
        lenet · torch 2.13.0 · eval, no grad
        cpu · 1,234 parameters

        module            → output
        LeNet             → 1×10
        ├╴c1 Conv2d       → 1×6×28×28
        ├╴sig Sigmoid     → 1×6×28×28
        ├╴s2 MaxPool2d    → 1×6×14×14
        ├╴c3 Conv2d       → 1×16×10×10
        ├╴sig #2 Sigmoid  → 1×16×10×10
        ├╴s2 #2 MaxPool2d → 1×16×5×5
        ├╴flatten Flatten → 1×400
        ├╴f5 Linear       → 1×120
        │   DIRECT · 1 hook skipped
        ├╴f6 Linear       → 1×84
        └╴f7 Linear       → 1×10
        too narrow for the columns from, params,
        input, called

        11 calls · 1 direct · 1.5 ms
        0.06 MB activations
        chain  Module._wrapped_call_impl →…  ×10
               forward  ×1
        """
    )


def test_a_side_that_does_not_fit_says_how_much_it_leaves_out() -> None:
    many = tuple(tensor(1, 7, 64, name=f"argument_{number}") for number in range(9))
    shown = below_root(inputs=many, outputs=many)
    assert " 1×7×64, …8 more → (1×7×64, …8 more) " in row_of("layer", shown, 70)
    assert " 1×7×64, 1×7×64, 1×7×64, 1×7×64, …5 more → (argument_0 1×7×64, …8 more) " in row_of("layer", shown, 110)


def test_columns_are_aligned_by_what_characters_take_on_the_screen() -> None:
    shown = trace(
        call(0, None, "", "Net"), call(1, 0, "漢字", "Wide"), call(2, 0, "🙂", "Face"), call(3, 0, "ab", "Thin")
    )
    starts = {cell_len(row.split("__call__")[0]) for row in rows(shown)}
    assert len(starts) == 1


@pytest.mark.parametrize("width", [20, 33, 50, 72, 80, 100, 120, 160, 300])
def test_no_line_is_wider_than_the_terminal_or_ends_in_spaces(width: int) -> None:
    for shown in (lenet(direct=True), blocks(5), failing(), everything(), *map(odd, range(12))):
        for options in ({}, {"fold": False}, {"depth": 1}, {"columns": COLUMNS}):
            for line in tree_text(shown, width=width, **options).split("\n"):
                assert cell_len(line) <= width
                assert line == line.rstrip(" ")


def test_a_name_of_a_million_letters_is_cut_at_once() -> None:
    name = "x" * 1_000_000

    def draw() -> None:
        text = tree_text(trace(call(0, None, name, "Net")), width=80)
        assert text.split("\n")[3] == f"{'x' * 53}… 1×16  → 1×16   model.…:10"

    assert takes_at_most(15, draw, lambda: [cell_len(letter) for letter in name[:100_000]])  # not 60 times as long
