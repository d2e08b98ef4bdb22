"""The totals of a model and its run, as people know them from other summaries."""

from __future__ import annotations

from dataclasses import replace

from fwdtrace.render.totals import activations, bytes_of, outermost, sizes
from fwdtrace.render.tree import tree_text
from fwdtrace.trace import ModelInfo, Op, Source, TensorMeta, Value
from tests.helpers.traces import call, on_a_device, residual, tensor, trace


def test_parameters_trainable_and_frozen_and_the_size_of_all_stand_in_the_totals() -> None:
    shown = replace(
        trace(call(0, None, "", "Net", flops=8_178_000_000)),
        model=ModelInfo(None, "Net", False, 25_557_032, 25_000_000, 102_228_128, 212_000),
    )
    assert sizes(shown) == [
        "25,000,000 trainable, 557,032 frozen",
        "102.2 MB parameters and 0.21 MB buffers",
        "64 B activations",
        "8.2B FLOPs, 4.1B multiply-adds",
    ]
    assert "25,000,000 trainable, 557,032 frozen · 102.2 MB parameters" in tree_text(shown)


def test_a_trace_that_knows_less_says_less() -> None:
    assert sizes(trace()) == []
    assert sizes(trace(call(0, None, "", "Net"))) == ["64 B activations"]
    assert sizes(on_a_device())[-1] == "3.15 MB peak memory"


def test_activations_are_what_the_innermost_calls_and_the_ops_made() -> None:
    assert activations(residual()) == 3 * 64, "what relu_ wrote into is not another tensor"
    outer = call(0, None, "", "Net", shape_out=(1000,))
    assert activations(trace(outer, call(1, 0, "fc", "Linear"), ops=(Op(2, 0, "+", (), (tensor(2, 2),)),))) == 64 + 16
    handed_on = replace(tensor(1000), source=Source(argument="x"))
    assert activations(trace(call(0, None, "", "Net", outputs=(handed_on, Value("a", "1"))))) == 4000


def test_the_bytes_of_a_tensor_are_those_of_its_elements() -> None:
    kinds = (("float32", 48), ("bfloat16", 24), ("int64", 96), ("bool", 12), ("complex64", 96), ("float8_e4m3fn", 12))
    assert [(name, bytes_of(TensorMeta("", (3, 4), name))) for name, _ in kinds] == list(kinds)
    assert bytes_of(TensorMeta("", (2, -1), "float32")) == 0


def test_what_is_counted_for_a_call_is_not_counted_again_for_those_inside() -> None:
    shown = trace(
        *(call(0, None, "", "Net"), call(1, 0, "a", "A", flops=5), call(2, 1, "a.b", "B", flops=3)),
        call(3, 0, "c", "C", flops=2),
    )
    assert outermost(shown, "flops") == 7
    assert outermost(trace(call(0, None, "", "Net")), "flops") is None
