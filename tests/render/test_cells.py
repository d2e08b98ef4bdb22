"""A cell shows in a width as much of it as fits, and says that there is more."""

from __future__ import annotations

import pytest

from fwdtrace.render.cells import Listing, Name, Origins, Place, Text, joined

SHAPES = Listing("1×7, mask 1×7, b 2×2", "1×7, …2 more", ("1×7", "1×7", "2×2"), leaves=3)


@pytest.mark.parametrize(
    ("width", "text"),
    [
        (20, "1×7, mask 1×7, b 2×2"),
        (19, "1×7, 1×7, 2×2"),
        (13, "1×7, 1×7, 2×2"),
        (12, "1×7, …2 more"),
        (11, "3 tensors"),
        (3, "1×…"),
    ],
)
def test_a_listing_shows_as_many_shapes_as_fit_and_counts_the_others(width: int, text: str) -> None:
    assert SHAPES.within(width) == text


@pytest.mark.parametrize(
    ("width", "text"), [(10, "1×16×32000"), (9, "1×16×…"), (6, "1×16×…"), (5, "1×16…"), (4, "1×…")]
)
def test_a_shape_is_not_cut_inside_a_number(width: int, text: str) -> None:
    assert Listing.of("1×16×32000").within(width) == text


def test_a_bundle_is_in_brackets() -> None:
    assert joined(["2", "3"], 0, bundle=True) == "(2, 3)"
    assert joined(["2"], 4, bundle=True) == "(2, …4 more)"


def test_a_text_is_cut_at_its_end_and_a_place_in_its_file() -> None:
    assert Text("__call__ → forward", "__call__").within(10) == "__call__…"
    assert [Place("model.py:31").within(width) for width in (7, 4, 3, 2)] == ["mod…:31", "…:31", ":31", ":…"]
    assert (Place("model.py:31").whole, Place("model.py:31").least) == ("model.py:31", "model.py:31")


def test_a_name_can_do_without_its_class() -> None:
    name = Name("├╴", "fc", "Linear")
    assert (name.whole, name.least, name.within(6)) == ("├╴fc Linear", "├╴fc", "├╴fc…")


ORIGINS = Origins(("encoder.block.0.norm", "+ :7", "encoder.block.1.norm"))


@pytest.mark.parametrize(
    ("width", "text"),
    [
        (48, "encoder.block.0.norm, + :7, encoder.block.1.norm"),
        (36, "enco…ck.0.norm, + :7, enco…ck.1.norm"),
        (30, "encoder.block.0.norm, + :7, +1"),
        (24, "enco…ck.0.norm, + :7, +1"),
        (12, "en….norm, +2"),
        (3, "en…"),
    ],
)
def test_origins_are_cut_in_the_middle_and_those_without_room_are_counted(width: int, text: str) -> None:
    assert ORIGINS.within(width) == text


def test_origins_are_never_wider_than_there_is_room() -> None:
    many = Origins(tuple(f"layer.{number}" for number in range(200)))
    assert [width for width in range(60) if len(many.within(width)) > width] == []
