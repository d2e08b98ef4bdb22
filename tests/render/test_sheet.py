"""What most tensors of a trace have is not written beside each of them."""

from __future__ import annotations

from dataclasses import replace

from fwdtrace.render.sheet import sheet_for
from fwdtrace.render.tree import tree_text
from tests.helpers.traces import call, tensor, trace


def test_a_model_of_another_type_says_so_once() -> None:
    half = tensor(1, 7, dtype="bfloat16")
    text = tree_text(trace(call(0, None, "", "Net", inputs=(replace(half, name="x"),), outputs=(half,))))
    assert "· cpu, bf16 ·" in text
    assert "1×7   → 1×7 " in text


def test_the_usual_type_is_the_floating_point_type_of_most_tensors_and_float32_of_as_many() -> None:
    half, whole = tensor(1, dtype="float16"), tensor(1, dtype="int64")
    assert sheet_for(trace(call(0, None, "", "Net", inputs=(half, half, whole, whole, whole)))).dtype == "float16"
    assert sheet_for(trace(call(0, None, "", "Net", inputs=(half,)))).dtype == "float32"
    assert sheet_for(trace()).dtype == "float32"


def test_what_the_output_does_not_take_is_escaped_on_its_sheet() -> None:
    assert sheet_for(trace(), encoding="ascii").text("größe") == "gr\\xf6\\xdfe"
