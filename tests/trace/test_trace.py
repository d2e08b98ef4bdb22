"""The data model: what a Trace answers about its calls, judged on traces made by hand."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import pytest

import fwdtrace
from fwdtrace.render.tree import tree_text
from fwdtrace.trace import Op, Trace
from tests.helpers.traces import call, lenet, trace


def family() -> Trace:
    """Two roots; the first has two children, and its first child has one."""
    return trace(
        call(0, None, "", "Net"),
        call(1, 0, "a", "A", aliases=("b", "c")),
        call(2, 1, "a.x", "X", depth=2),
        call(5, 0, "d", "D"),
        call(6, None, "", "Net", nth=2),
    )


def test_the_calls_of_a_module_are_found_by_its_path() -> None:
    assert [found.nth for found in lenet().at("sig")] == [1, 2]
    assert [found.id for found in family().at("")] == [0, 6]
    assert lenet().at("nowhere") == ()


def test_the_calls_of_a_module_are_found_by_an_alias() -> None:
    assert [found.id for found in family().at("c")] == [1]


def test_calls_of_modules_outside_the_tree_are_found_by_none() -> None:
    assert [found.id for found in trace(call(0, None, "", "Net"), call(1, 0, None, "Softmax")).at(None)] == [1]


def test_a_call_is_found_by_its_id_though_ids_have_gaps() -> None:
    assert family().call(5).path == "d"
    with pytest.raises(KeyError):
        family().call(3)


def test_children_are_the_calls_made_directly_and_roots_have_no_caller() -> None:
    made = family()
    assert [child.id for child in made.children()] == [0, 6]
    assert [child.id for child in made.children(made.call(0))] == [1, 5]
    assert made.children(made.call(2)) == ()


def test_walking_goes_depth_first_in_order_of_beginning() -> None:
    made = family()
    assert [found.id for found in made.walk()] == [0, 1, 2, 5, 6]
    assert [found.id for found in made.walk(made.call(0))] == [1, 2, 5]


def test_walking_ten_thousand_levels_needs_no_recursion() -> None:
    deep = trace(*(call(id, id - 1 if id else None, "", "Net", depth=id) for id in range(10_000)))
    assert sum(1 for _ in deep.walk()) == 10_000


def busy() -> Trace:
    """A root that makes `a`, which makes an op and `a.x`, then an op of its own; ids have gaps."""
    calls = (call(0, None, "", "Net"), call(1, 0, "a", "A"), call(4, 1, "a.x", "X", depth=2))
    return trace(*calls, ops=(Op(2, 1, "+"), Op(5, 0, "torch.cat"), Op(7, None, "*")))


def test_events_are_calls_and_ops_in_order_of_beginning() -> None:
    assert [event.id for event in busy().events] == [0, 1, 2, 4, 5, 7]
    assert lenet().events == lenet().calls
    assert trace(call(0, None, "", "Net"), ops=()).events == (call(0, None, "", "Net"),)


def test_what_a_call_made_are_the_calls_and_ops_directly_below_it() -> None:
    made = busy()
    assert [event.id for event in made.made_by()] == [0, 7]
    assert [event.id for event in made.made_by(made.call(0))] == [1, 5]
    assert [event.id for event in made.made_by(made.call(1))] == [2, 4]
    assert made.made_by(made.call(4)) == made.made_by(made.events[2]) == ()


def test_the_caller_of_a_call_or_op_is_the_call_that_made_it() -> None:
    made = busy()
    assert made.caller(made.events[2]) == made.call(1)
    assert made.caller(made.call(0)) is made.caller(made.events[-1]) is None
    assert [caller.id for caller in made.callers(made.call(4))] == [1, 0]
    assert list(made.callers(made.call(0))) == []


def test_a_call_ends_with_the_last_call_or_op_below_it() -> None:
    assert {event.id: busy().end(event) for event in busy().events} == {0: 5, 1: 4, 2: 2, 4: 4, 5: 5, 7: 7}


def test_calls_sorted_by_their_ends_are_in_order_of_ending() -> None:
    made = busy()
    ended = sorted(made.events, key=lambda event: (made.end(event), -event.id))
    assert [event.id for event in ended] == [2, 4, 1, 5, 0, 7]


def test_innermost_calls_make_no_call_but_may_run_ops() -> None:
    assert [found.id for found in busy().innermost] == [4]
    assert [found.id for found in family().innermost] == [2, 5, 6]


def test_a_hundred_thousand_calls_of_one_caller_are_asked_in_linear_time() -> None:
    wide = trace(call(0, None, "", "Net"), *(call(id, 0, f"l{id}", "L") for id in range(1, 100_001)))
    began = time.process_time()
    assert all(wide.end(each) == each.id and len(wide.children(wide.call(0))) == 100_000 for each in wide.calls[1:])
    assert time.process_time() - began < 5  # it takes 0.1 s; a copy of the children for each call takes half a minute


def test_traces_are_equal_by_value_and_cannot_be_changed() -> None:
    assert lenet() == lenet()
    assert lenet() != lenet(direct=True)
    with pytest.raises(dataclasses.FrozenInstanceError):
        lenet().calls[0].path = "other"  # type: ignore[misc]


def test_asking_a_trace_does_not_change_what_it_equals() -> None:
    asked = lenet()
    asked.call(0), asked.children(), asked.events, asked.made_by(), asked.end(asked.call(0)), asked.innermost
    assert asked == lenet()


def test_printing_a_trace_prints_its_tree() -> None:
    assert str(lenet()) == tree_text(lenet(), width=80)


def test_a_trace_saves_itself(tmp_path: Path) -> None:
    lenet().save(tmp_path / "trace.json")
    assert fwdtrace.load_trace(tmp_path / "trace.json") == lenet()
