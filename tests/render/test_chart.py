"""What a chart shows: which boxes, how deep, which arrows between which boxes, and which way they run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fwdtrace.render.chart import MOST_SCREENS, Chart, chart_of
from fwdtrace.render.sheet import sheet_for
from fwdtrace.trace import Call, Op, Source, TensorMeta, Trace
from tests.helpers.traces import call, odd, residual, tensor, trace


def chart(shown: Trace, depth: int | None = None, fits: Any = lambda chart: True) -> Chart:
    return chart_of(shown, sheet_for(shown), depth, True, fits)


def made(id: int | None, name: str = "", output: int = 0) -> TensorMeta:
    """A tensor that this call or op made; the argument x without one."""
    source = Source(argument="x") if id is None else Source(id, output)
    return replace(tensor(1, 16, name=name), source=source)


def blocks(number: int, layers: int = 2) -> Trace:
    """Blocks that all differ; in each, what was given is added to what its layers make of it."""
    calls: list[Call] = []
    ops: list[Op] = []
    at, before = 1, None
    for block in range(number):
        above, end = at, at + layers + 1
        given = made(before, "x")
        calls.append(call(above, 0, f"b{block}", "Block", parameters=block, inputs=(given,), outputs=(made(end),)))
        for layer in range(layers):
            at += 1
            taken = made(at - 1, "input") if layer else replace(given, name="input")
            path = f"b{block}.l{layer}"
            calls.append(call(at, above, path, "Linear", depth=2, line=layer, inputs=(taken,), outputs=(made(at),)))
        ops.append(Op(end, above, "+", (made(at, "0"), replace(given, name="1")), (made(end),)))
        at, before = end + 1, end
    root = call(0, None, "", "Net", inputs=(made(None, "x"),), outputs=(made(before),))
    return trace(root, *calls, ops=tuple(ops))


def test_a_way_around_layers_begins_at_what_their_block_was_given() -> None:
    shown = chart(blocks(1))
    assert [(box.name, box.lines[0], box.around) for box in shown.boxes] == [
        *(("n0", "Net", ""), ("n1", "b0 Block", "n0"), ("n1in0", "x", "n1")),
        *(("n2", "l0 Linear", "n1"), ("n3", "l1 Linear", "n1"), ("n4", "+", "n1")),
    ]
    assert sorted(shown.arrows) == [("n1in0", "n2"), ("n1in0", "n4"), ("n2", "n3"), ("n3", "n4")]


def test_an_arrow_is_between_boxes_that_are_in_the_same_one() -> None:
    shown = chart(blocks(3))
    around = {box.name: box.around for box in shown.boxes}
    assert {(maker, user) for maker, user in shown.arrows if around[maker] == "n0"} == {("n1", "n5"), ("n5", "n9")}
    assert all(around[maker] == around[user] for maker, user in shown.arrows)


def test_what_gives_back_what_it_was_given_lies_on_the_way() -> None:
    calls = (
        call(0, None, "", "Net", inputs=(made(None, "x"),), outputs=(made(4),)),
        call(1, 0, "fc", "Linear", inputs=(made(None),), outputs=(made(1),)),
        call(2, 0, "drop", "Dropout", inputs=(made(1),), outputs=(made(1),)),
        call(3, 0, "same", "Identity", inputs=(made(1),), outputs=(made(1),)),
        call(4, 0, "head", "Linear", inputs=(made(1),), outputs=(made(4),)),
    )
    assert chart(trace(*calls)).arrows == (("n1", "n2"), ("n2", "n3"), ("n3", "n4"))


def test_a_chain_in_a_box_needs_no_mention_of_what_was_given() -> None:
    layers = (
        call(2, 1, "a.0", "Linear", depth=2, inputs=(made(None, "input"),), outputs=(made(2),)),
        call(3, 1, "a.1", "Linear", depth=2, inputs=(made(2, "input"),), outputs=(made(3),)),
    )
    block = call(1, 0, "a", "Block", inputs=(made(None, "x"),), outputs=(made(3),))
    shown = chart(trace(call(0, None, "", "Net", inputs=(made(None, "x"),), outputs=(made(3),)), block, *layers))
    assert [box.name for box in shown.boxes] == ["n0", "n1", "n2", "n3"]
    assert shown.arrows == (("n2", "n3"),)


def test_what_a_box_was_not_given_as_an_argument_has_the_name_of_what_made_it() -> None:
    block = call(2, 0, "b", "Block", inputs=(), outputs=(made(4),))
    layers = (
        call(3, 2, "b.0", "Linear", depth=2, inputs=(made(None, "input"),), outputs=(made(3),)),
        call(4, 2, "b.1", "Linear", depth=2, inputs=(made(1, "input"), made(3, "other")), outputs=(made(4),)),
    )
    first = call(1, 0, "a", "Linear", inputs=(made(None, "input"),), outputs=(made(1),))
    shown = chart(trace(call(0, None, "", "Net", inputs=(made(None, "x"),), outputs=(made(4),)), first, block, *layers))
    assert ("n1", "n2") in shown.arrows
    assert [box.lines for box in shown.boxes if box.around == "n2" and box.kind == "given"] == [("a Linear",)]


def test_what_the_depth_leaves_out_counts_for_the_box_that_is_shown() -> None:
    shown = chart(blocks(3), depth=1)
    assert [box.name for box in shown.boxes] == ["n0", "n1", "n2", "n3"]
    assert shown.arrows == (("n1", "n2"), ("n2", "n3"))


def test_what_is_folded_counts_for_the_box_of_all_the_rounds() -> None:
    rounds = (
        call(n, 0, f"layers.{n - 1}", "Linear", inputs=(made(n - 1 or None, "input"),), outputs=(made(n),))
        for n in range(1, 9)
    )
    last = call(9, 0, "head", "Linear", inputs=(made(8, "input"),), outputs=(made(9),))
    root = call(0, None, "", "Net", inputs=(made(None, "x"),), outputs=(made(9),))
    shown = chart(trace(root, *rounds, last))
    assert [(box.name, box.kind) for box in shown.boxes] == [("n0", ""), ("n1", ""), ("n2", "folded"), ("n3", "")]
    assert shown.arrows == (("n1", "n2"), ("n2", "n3"))


def test_a_large_chart_runs_sideways_and_a_small_one_down() -> None:
    assert chart(residual()).sideways == 0
    shown = chart(blocks(8, 6))
    assert shown.sideways == 1 and 1 < shown.screens <= MOST_SCREENS
    assert all("depth" not in line for box in shown.boxes for line in box.lines)


def test_a_chart_that_would_be_too_large_is_less_deep_and_says_so() -> None:
    shown = chart(blocks(12, 40))
    assert shown.screens <= MOST_SCREENS
    assert shown.boxes[0].lines == ("Net", "1×16 → 1×16", "depth 1 of 2, --depth 2 draws all")
    assert shown.boxes[1].lines[-1] == "+40 calls and 1 op, --depth 2 shows more"
    assert len(chart(blocks(12, 40), depth=2).boxes) > 200


def test_a_chart_is_as_deep_as_its_writer_takes_it() -> None:
    assert len(chart(blocks(3), fits=lambda drawn: len(drawn.boxes) < 10).boxes) == 4


def test_without_sources_an_arrow_leads_to_what_ran_next() -> None:
    shown = chart(trace(call(0, None, "", "Net"), call(1, 0, "a", "Linear"), call(2, 0, "b", "Linear")))
    assert shown.arrows == (("n1", "n2"),)
    assert shown.meaning == "the order of running, not a flow of data"


def test_a_very_deep_model_and_many_rows_are_drawn_in_time() -> None:
    deep = trace(*(call(n, n - 1 if n else None, ".".join("a" * n), "Block", depth=n) for n in range(1500)))
    assert chart(deep).screens <= MOST_SCREENS
    assert len(chart(deep, depth=2000).boxes) == 1500
    assert len(chart(blocks(3000)).boxes) == 3001


@pytest.mark.parametrize("seed", range(20))
def test_arrows_name_boxes_that_there_are(seed: int) -> None:
    shown = chart(odd(seed))
    names = {box.name for box in shown.boxes}
    assert all({maker, user} <= names for maker, user in shown.arrows)
    assert {box.around for box in shown.boxes} - {""} <= {box.name for box in shown.boxes if box.is_open}
