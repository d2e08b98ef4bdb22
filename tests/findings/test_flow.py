"""Where the paths of gradients break, in traces written by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fwdtrace.findings.flow import Break, Paths
from fwdtrace.trace import Op, Source, TensorMeta, Trace
from tests.helpers.traces import call, tensor, trace


def leaf(source: Source, *, grad: bool = True, changed_by: int | None = None, dtype: str = "float32") -> TensorMeta:
    made = tensor(1, 16, dtype=dtype)
    return replace(made, requires_grad=grad, source=source, changed_by=changed_by)


X = leaf(Source(argument="x"), grad=False)
FIRST = leaf(Source(1, 0))
LAYER = call(1, 0, "first", "Linear", inputs=(X,), outputs=(FIRST,))


def net(*events: Any, output: TensorMeta) -> Trace:
    """A model that calls `first` and then these, and returns the output."""
    calls = [event for event in events if not isinstance(event, Op)]
    ops = tuple(event for event in events if isinstance(event, Op))
    return trace(call(0, None, "", "Net", inputs=(X,), outputs=(output,)), LAYER, *calls, ops=ops)


def breaks(whole: Trace, parameter: str = "first.weight") -> tuple[Break, ...]:
    return Paths(whole).breaks(parameter, whole.at(parameter.rpartition(".")[0]))


def test_an_op_that_gives_no_gradient_and_leads_to_the_output_is_where_the_path_breaks() -> None:
    cut = Op(2, 0, ">", (FIRST,), (leaf(Source(2, 0), grad=False, dtype="bool"),))
    after = Op(3, 0, "*", (X, *cut.outputs), (leaf(Source(3, 0)),))
    assert breaks(net(cut, after, output=leaf(Source(3, 0)))) == (Break("cut", cut),)


def test_a_break_beside_the_way_to_the_output_is_passed_over() -> None:
    beside = Op(2, 0, ">", (FIRST,), (leaf(Source(2, 0), grad=False, dtype="bool"),))
    unused = Op(3, 0, "torch.exp", (FIRST,), (leaf(Source(3, 0)),))
    counted = Op(4, 0, "Tensor.sum", beside.outputs, (leaf(Source(4, 0), grad=False),))
    assert breaks(net(beside, unused, counted, output=X)) == (Break("unused", unused),)


def test_a_path_to_an_output_ends_there() -> None:
    step = Op(2, 0, "torch.exp", (FIRST,), (leaf(Source(2, 0)),))
    assert breaks(net(step, output=leaf(Source(2, 0)))) == (Break("output", step, ""),)


def test_what_is_written_in_place_is_followed_through_the_op_that_wrote() -> None:
    buffer = leaf(Source(2, 0), grad=False)
    make = Op(2, 0, "torch.zeros", (), (buffer,))
    write = Op(3, 0, "[]=", (buffer, FIRST), ())
    written = leaf(Source(2, 0), changed_by=3)
    cut = Op(4, 0, "Tensor.detach", (written,), (leaf(Source(4, 0), grad=False),))
    assert breaks(net(make, write, cut, output=leaf(Source(4, 0), grad=False))) == (Break("cut", cut),)


def test_a_number_that_is_taken_out_is_a_break() -> None:
    out = Op(2, 0, "Tensor.item", (FIRST,), ())
    assert breaks(net(out, output=X)) == (Break("cut", out),)


def test_the_outermost_call_without_a_graph_is_named() -> None:
    block = call(1, 0, "block", "Block", inputs=(X,), outputs=(leaf(Source(2, 0), grad=False),), without_grad="no_grad")
    layer = call(2, 1, "block.layer", "Linear", inputs=(X,), outputs=block.outputs, without_grad="no_grad", depth=2)
    whole = trace(call(0, None, "", "Net", inputs=(X,), outputs=block.outputs), block, layer, ops=())
    assert breaks(whole, "block.layer.weight") == (Break("off", block),)


def test_a_reentrant_checkpoint_breaks_the_path_only_if_its_result_requires_no_gradient() -> None:
    for grad in (True, False):
        inside = call(1, 0, "first", "Linear", inputs=(X,), outputs=(replace(FIRST, requires_grad=False),))
        inside = replace(inside, without_grad="checkpoint")
        after = Op(2, 0, "torch.exp", (replace(FIRST, requires_grad=grad),), (leaf(Source(2, 0), grad=grad),))
        root = call(0, None, "", "Net", inputs=(X,), outputs=after.outputs)
        expected = Break("output", after) if grad else Break("off", inside)
        assert breaks(trace(root, inside, ops=(after,))) == (expected,)


def test_a_parameter_is_followed_from_the_ops_that_were_given_it() -> None:
    scale = leaf(Source(parameter="scale"))
    cut = Op(2, 0, "Tensor.detach", (scale,), (leaf(Source(2, 0), grad=False),))
    assert breaks(net(cut, output=cut.outputs[0]), "scale") == (Break("cut", cut),)  # type: ignore[arg-type]
    frozen = Op(2, 0, "*", (replace(scale, requires_grad=False),), (leaf(Source(2, 0), grad=False),))
    assert breaks(net(frozen, output=X), "scale") == (Break("frozen", frozen),)


def test_a_result_that_the_call_around_made_unseen_is_told_as_such() -> None:
    outer = call(1, 0, "outer", "Outer", inputs=(X,), outputs=(leaf(Source(1, 0), grad=False),))
    inner = call(2, 1, "outer.layer", "Linear", inputs=(X,), outputs=(leaf(Source(2, 0)),), depth=2)
    whole = trace(call(0, None, "", "Net", inputs=(X,), outputs=outer.outputs), outer, inner, ops=())
    assert breaks(whole, "outer.layer.weight") == (Break("unseen", outer),)


def test_of_an_op_with_several_results_the_rest_may_have_been_used() -> None:
    values, places = leaf(Source(2, 0)), leaf(Source(2, 1), grad=False, dtype="int64")
    top = Op(2, 0, "torch.topk", (FIRST,), (values, places))
    after = Op(3, 0, "torch.gather", (X, places), (leaf(Source(3, 0), grad=False),))
    assert breaks(net(top, after, output=leaf(Source(3, 0), grad=False))) == (Break("others", top),)
