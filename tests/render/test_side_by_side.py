"""The page of a comparison shows which calls belong together, where the two part, and which weight is which."""

from __future__ import annotations

from dataclasses import replace

from fwdtrace.compare import compare_traces
from fwdtrace.compare.comparison import Origin, TraceComparison
from fwdtrace.compare.weight_map import Move, Piece, WeightMap
from fwdtrace.render.side_by_side import marks_of_side, moved_weights
from fwdtrace.trace import Op, Site
from tests.helpers.traces import call, trace


def compared(origin: Origin | None, aligned: tuple[tuple[int, int, bool], ...]) -> TraceComparison:
    before = trace(
        call(0, None, "", "Net"),
        call(1, 0, "norm", "LayerNorm", line=11),
        call(2, 0, "up", "Linear", line=12),
        call(3, 0, "down", "Linear", line=13),
    )
    after = trace(
        call(0, None, "", "Port"),
        call(1, 0, "norm", "LayerNorm", line=21),
        call(2, 0, "a", "Linear", line=22),
        call(3, 0, "b", "Linear", line=23),
    )
    return replace(compare_traces(before, after), origin=origin, aligned=aligned)


ALIGNED = ((0, 0, False), (1, 1, False), (2, 2, True), (3, 3, False))


def test_calls_with_other_names_say_what_they_are_called_on_the_other_side() -> None:
    found = compared(Origin("down", 1, "Linear", "b"), ALIGNED)
    assert marks_of_side(found, 0)[2] == ["in the second: a"]
    assert marks_of_side(found, 1)[2] == ["in the first: up"]


def test_where_the_two_part_and_what_the_model_recovers_from_before_that() -> None:
    found = compared(Origin("down", 1, "Linear", "b"), ALIGNED)
    assert marks_of_side(found, 0)[3] == ["the two part here", "in the second: b"]
    assert marks_of_side(found, 1)[3] == ["the two part here", "in the first: down"]
    assert marks_of_side(found, 0)[1] == ["gives other numbers, from which the model recovers"]


def test_an_op_or_call_inside_the_one_that_is_named_is_found_by_its_line() -> None:
    site = Site("/home/user/model.py", 22, "Net.forward", "")
    found = compared(Origin("", 1, "Net", site=site), ())
    assert marks_of_side(found, 1) == {2: ["the two part here"]}
    assert marks_of_side(found, 0) == {0: ["the two part here"]}


def test_of_several_at_one_line_it_is_the_op_of_that_name() -> None:
    site = Site("/home/user/model.py", 22, "Net.forward", "")
    one, two, three = (Op(id, 0, name, site=site) for id, name in ((2, "tanh"), (3, "+"), (4, "*")))
    sums = trace(call(0, None, "", "Net"), call(1, 0, "up", "Linear", line=22), ops=(one, two, three))
    origin = Origin("", 1, "Net", op="+", site=site, first_site=site)
    found = replace(compare_traces(sums, sums), origin=origin, aligned=())
    assert marks_of_side(found, 0) == marks_of_side(found, 1) == {3: ["the two part here"]}


def test_without_an_origin_all_that_differs_is_recovered_from() -> None:
    marks = marks_of_side(compared(None, ((1, 1, False), (2, 2, True))), 1)
    assert marks == {1: ["gives other numbers, from which the model recovers"], 2: ["in the first: up"]}


def test_moved_weights_are_in_a_table_with_what_speaks_for_them_and_those_left_in_others() -> None:
    moves = (
        Move("qkv", (Piece("q"), Piece("k")), heads=2, proof="run"),
        Move("a", (Piece("up", 0, 4),), transposed=True),
    )
    weights = WeightMap(moves, 3, left=("b",), unused=("down",))
    tables = list(moved_weights(replace(compared(None, ()), weights=weights)))
    assert tables[0].rows == (
        ("qkv", "q over k, in turns by 2 heads", "the same input gives the same"),
        ("a", "up rows 0 to 3, transposed", "its name"),
    )
    assert [table.rows for table in tables[1:]] == [(("b",),), (("down",),)]
    assert list(moved_weights(compared(None, ()))) == []
