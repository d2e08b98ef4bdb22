"""What goes into a call and comes out of it, in few words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fwdtrace.render.tree import tree_text
from fwdtrace.trace import Op, TensorMeta, Value
from tests.helpers.drawings import below_root, row_of
from tests.helpers.traces import call, tensor, trace


@pytest.mark.parametrize(
    ("fields", "cell"),
    [
        ({"inputs": (tensor(1, 7, name="ids", dtype="int64"),), "outputs": (tensor(1, 7, 32),)}, "1×7 i64 → 1×7×32"),
        ({"inputs": (tensor(1, 7, name="x"), tensor(1, 7, name="mask", dtype="bool"))}, "1×7, mask 1×7 bool → 1×16"),
        ({"inputs": (Value("scale", "2.0"), tensor(3, name="x"))}, "3, scale=2.0 → 1×16"),
        ({"inputs": (tensor(3, name="x"), Value("mask", "None"))}, "3, mask=None → 1×16"),
        ({"inputs": (tensor(3, name="x"), Value("a", "None"), Value("b", "None"))}, "3, 2 None → 1×16"),
        ({"inputs": ()}, "() → 1×16"),
        ({"outputs": (tensor(2, name="[0]"), Value("[1]", "None"))}, "1×16 → (2, None)"),
        ({"outputs": (tensor(2, name="[0]"),)}, "1×16 → (2)"),
        ({"outputs": (tensor(2, name=".logits"), tensor(3, name=".state[0]"))}, "1×16 → (logits 2, state 3)"),
        ({"outputs": (Value("", "None"),)}, "1×16 → None"),
        ({"outputs": (tensor(),)}, "1×16 → scalar"),
        ({"outputs": (tensor(3, -1, 0),)}, "1×16 → 3×?×0"),
        ({"outputs": (tensor(3, device="cuda:1"),)}, "1×16 → 3 cuda:1"),
        ({"outputs": (TensorMeta("", (3, 3), "float32", layout="sparse_coo"),)}, "1×16 → 3×3 sparse_coo"),
        ({"outputs": tuple(tensor(2, name=f".cache[{n}].k") for n in range(9))}, "1×16 → (cache 9 leaves)"),
        ({"outputs": (tensor(2, dtype="float8_e4m3fn"),)}, "1×16 → 2 f8_e4m3fn"),
        ({"outputs": (tensor(2, dtype="complex64"),)}, "1×16 → 2 c64"),
    ],
)
def test_leaves_are_shown_in_few_words(fields: dict[str, Any], cell: str) -> None:
    assert cell in " ".join(row_of("layer", below_root(**fields)).split())


def test_a_number_stands_on_its_side_of_an_operator() -> None:
    tensors = tensor(2, 3, name="0"), tensor(2, 3, name="1")
    ops = (Op(1, 0, "-", (Value("0", "1"), tensors[1])), Op(2, 0, "-", (tensors[0], Value("1", "1"))))
    text = tree_text(replace(trace(call(0, None, "", "Net")), ops=ops))
    assert "1, 2×3" in text and "2×3, 1" in text


def test_a_distributed_tensor_is_shown_with_its_placements_and_the_shape_of_its_part() -> None:
    placed = TensorMeta("x", (6, 8), "float32", placements=("Shard(dim=1)", "Replicate()"), local_shape=(6, 4))
    text = tree_text(trace(call(0, None, "", "Net", inputs=(placed,))))
    assert "6×8 S(1),R here 6×4 → 1×16" in text
