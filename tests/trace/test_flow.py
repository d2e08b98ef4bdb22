"""The data flow of a trace, judged on traces made by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fwdtrace.trace import Call, Event, Leaf, Op, Source, Trace, Value
from tests.helpers.growth import takes_at_most
from tests.helpers.traces import call, tensor, trace


def leaf(source: Source | None, changed_by: int | None = None) -> Leaf:
    return replace(tensor(1, 16), source=source, changed_by=changed_by)


def made(id: int, output: int = 0) -> Source:
    return Source(id, output)


def layer(id: int, path: str, *sources: Source | None, **fields: Any) -> Call:
    return call(id, 0, path, "Linear", inputs=tuple(map(leaf, sources)), outputs=(leaf(made(id)),), **fields)


def op(id: int, name: str, *inputs: Leaf, outputs: tuple[Leaf, ...] | None = None) -> Op:
    return Op(id, 0, name, inputs, (leaf(made(id)),) if outputs is None else outputs)


X = Source(argument="x")


def residual() -> Trace:
    """`first(x)`, then `relu_` on its output, then `second`, whose output is added to that of `relu_`, then split."""
    root = call(0, None, "", "Net", inputs=(leaf(X),), outputs=(leaf(made(5, 1)),))
    ops = (
        op(2, "torch.relu_", leaf(made(1)), outputs=(leaf(made(1), 2),)),
        op(4, "+", leaf(made(3)), leaf(made(1), 2), leaf(Source(parameter="scale"))),
        op(5, "torch.chunk", leaf(made(4)), Value("2", "2"), outputs=(leaf(made(5, 0)), leaf(made(5, 1)))),
        op(6, "torch.neg", leaf(made(5, 0))),
    )
    return trace(root, layer(1, "first", X), call_of_second(), ops=ops)


def call_of_second() -> Call:
    return call(3, 0, "second", "Linear", inputs=(leaf(made(1), 2),), outputs=(leaf(made(3)),))


def ids(events: tuple[Event, ...]) -> list[int]:
    return [event.id for event in events]


def event(trace: Trace, id: int) -> Event:
    return next(event for event in trace.events if event.id == id)


def test_a_tensor_is_produced_by_what_made_it_or_wrote_into_it_last() -> None:
    flow = residual().flow
    producers = [flow.producer(leaf) for leaf in (*event(residual(), 4).inputs, *event(residual(), 5).inputs)]
    assert [producer and producer.id for producer in producers] == [3, 2, None, 4, None]


def test_what_comes_from_an_earlier_call_of_the_root_has_no_producer_in_this_trace() -> None:
    made_before = leaf(Source(1, 0, call=1))
    carried = trace(call(0, None, "", "Net"), layer(1, "a", X), ops=(op(2, "+", made_before),))
    assert carried.flow.producer(made_before) is None
    assert carried.flow.consumers(carried.call(1)) == ()


def test_a_source_that_the_trace_does_not_hold_is_as_if_it_were_not_known() -> None:
    assert trace(call(0, None, "", "Net"), layer(1, "a", made(99))).flow.producers(call(1, 0, "a", "Linear")) == ()


def test_the_consumers_of_an_output_are_all_that_were_given_it() -> None:
    flow = residual().flow
    assert ids(flow.consumers(event(residual(), 1))) == [2]
    assert ids(flow.consumers(event(residual(), 2))) == [3, 4]
    assert ids(flow.consumers(event(residual(), 2), 0)) == [3, 4]
    assert ids(flow.consumers(event(residual(), 5), 0)) == [6]
    assert ids(flow.consumers(event(residual(), 5), 1)) == []
    assert ids(flow.consumers(event(residual(), 5))) == [6]


def test_the_producers_of_the_inputs_are_each_named_once_in_the_order_of_the_inputs() -> None:
    twice = trace(
        call(0, None, "", "Net"),
        *(layer(1, "a", X), layer(2, "b", X)),
        ops=(op(3, "torch.cat", leaf(made(2)), leaf(made(1)), leaf(made(2))),),
    )
    assert ids(twice.flow.producers(event(twice, 3))) == [2, 1]


def test_the_path_between_two_calls_is_a_shortest_way_of_the_data() -> None:
    made = residual()
    assert ids(made.flow.path(event(made, 1), event(made, 6))) == [1, 2, 4, 5, 6]
    assert ids(made.flow.path(event(made, 3), event(made, 4))) == [3, 4]
    assert ids(made.flow.path(event(made, 4), event(made, 3))) == []
    assert ids(made.flow.path(event(made, 4), event(made, 4))) == [4]


def test_what_a_block_gives_is_used_by_what_comes_after_it_and_the_path_begins_there() -> None:
    inside = replace(layer(2, "block.a", X), parent=1, depth=2)
    block = call(1, 0, "block", "Block", inputs=(leaf(X),), outputs=(leaf(made(3)),))
    last = replace(layer(3, "block.b", made(2)), parent=1, depth=2)
    same = call(4, 0, "drop", "Dropout", inputs=(leaf(made(3)),), outputs=(leaf(made(3)),))
    of_all = trace(call(0, None, "", "Net"), block, inside, last, same, layer(5, "head", made(3)))
    assert ids(of_all.flow.consumers(block, 0)) == [4, 5]
    assert ids(of_all.flow.consumers(same, 0)) == [5]
    assert ids(of_all.flow.path(block, of_all.call(5))) == [1, 5]
    assert ids(of_all.flow.path(block, of_all.call(3))) == []


def test_a_parameter_reaches_what_its_own_module_gives_and_what_is_given_the_parameter() -> None:
    flow = residual().flow
    assert ids(flow.reached_by("second.weight")) == [3, 4, 5, 6]
    assert ids(flow.reached_by("scale")) == [4, 5, 6]
    assert ids(flow.reached_by("nobody.weight")) == []


def test_what_an_output_depends_on_goes_through_writes_and_leaves_out_what_came_after() -> None:
    made = residual()
    assert ids(made.flow.reaching(made.call(0))) == [1, 2, 3, 4, 5]
    assert ids(made.flow.reaching(made.call(0), 0)) == [1, 2, 3, 4, 5]
    assert ids(made.flow.reaching(event(made, 2))) == [1, 2]
    assert ids(made.flow.reaching(event(made, 1))) == [1]


def test_a_trace_without_sources_answers_that_nothing_is_known() -> None:
    plain = trace(call(0, None, "", "Net"), call(1, 0, "a", "A"))
    assert plain.flow.reaching(plain.call(0)) == plain.flow.consumers(plain.call(1)) == ()


def test_a_long_trace_is_answered_in_linear_time() -> None:
    def answered(length: int) -> None:
        chain = (layer(id, f"layers.{id}", made(id - 1) if id > 1 else X) for id in range(1, length))
        long = trace(call(0, None, "", "Net", inputs=(leaf(X),), outputs=(leaf(made(length - 1)),)), *chain)
        assert len(long.flow.reaching(long.call(0))) == length - 1
        assert len(long.flow.path(long.call(1), long.call(length - 1))) == length - 1

    assert takes_at_most(35, lambda: answered(20_000), lambda: answered(2_000))  # not 100 times as long


def test_what_gave_a_tensor_back_handed_it_on_to_all_that_come_later_beside_it_or_further_in() -> None:
    y = leaf(made(1))
    calls = (
        call(0, None, "", "Net", inputs=(leaf(X),), outputs=(y,)),
        layer(1, "first", X),
        call(2, 0, "drop", "Dropout", inputs=(y,), outputs=(y,)),
        call(3, 0, "block", "Block", inputs=(y,), outputs=(leaf(made(5)),)),
        call(4, 3, "block.same", "Identity", inputs=(y,), outputs=(y,)),
        call(5, 3, "block.fc", "Linear", inputs=(y,), outputs=(leaf(made(5)),)),
        call(6, 0, "last", "Linear", inputs=(y, leaf(made(1), 5)), outputs=()),
    )
    shown = trace(*calls)
    found = [shown.flow.handed_on_by(leaf, each) for each in calls[1:] for leaf in each.inputs]
    assert [giver and giver.id for giver in found] == [None, None, 2, 2, 4, 2, None]


def test_an_argument_is_not_handed_on_to_another_call_of_the_root() -> None:
    same = [call(id, None, "", "Net", nth=id + 1, inputs=(leaf(X),), outputs=(leaf(X),)) for id in range(2)]
    assert trace(*same).flow.handed_on_by(leaf(X), same[1]) is None
