"""Every kind of value that goes into a call or comes out of it, and the leaves it is described by."""

from __future__ import annotations

import enum
from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

import fwdtrace
from fwdtrace.trace import Leaf, TensorMeta, Value

Pair = namedtuple("Pair", ["left", "right"])


@dataclass
class Output:
    logits: Tensor
    loss: Tensor | None = None


class Colour(enum.Enum):
    RED = 1


class Returns(nn.Module):
    def __init__(self, value: Any) -> None:
        super().__init__()
        self.values = (lambda: value,)

    def forward(self) -> Any:
        return self.values[0]()


def outputs(value: Any) -> tuple[Leaf, ...]:
    model = Returns(value)
    with fwdtrace.record(model) as recording:
        model()
    return recording.trace.calls[0].outputs


T = torch.ones(2, 3)


def f32(name: str, *shape: int) -> TensorMeta:
    return TensorMeta(name, shape or (2, 3), "float32")


@pytest.mark.parametrize(
    ("value", "leaves"),
    [
        (T, (f32(""),)),
        (torch.tensor(1.0), (TensorMeta("", (), "float32"),)),
        (nn.Parameter(T), (TensorMeta("", (2, 3), "float32", requires_grad=True),)),
        (T.to(torch.complex64), (TensorMeta("", (2, 3), "complex64"),)),
        (T.to("meta"), (TensorMeta("", (2, 3), "float32", "meta"),)),
        (T.to_sparse(), (TensorMeta("", (2, 3), "float32", layout="sparse_coo"),)),
        ((T, None), (f32("[0]"), Value("[1]", "None"))),
        ([T, [T]], (f32("[0]"), f32("[1][0]"))),
        ({"a": T, 2: 1.5}, (f32(".a"), Value("[2]", "1.5"))),
        (OrderedDict(x=T), (f32(".x"),)),
        (Pair(T, "text"), (f32(".left"), Value(".right", "'text'"))),
        (Output(T), (f32(".logits"), Value(".loss", "None"))),
        (None, (Value("", "None"),)),
        (True, (Value("", "True"),)),
        (float("nan"), (Value("", "nan"),)),
        ("x" * 100, (Value("", "'" + "x" * 58 + "…"),)),
        ((), (Value("", "()"),)),
        ({}, (Value("", "{}"),)),
        (Colour.RED, (Value("", "<Colour.RED: 1>"),)),
        (torch.float16, (Value("", "torch.float16"),)),
        (T.shape, (Value("", "torch.Size([2, 3])"),)),
        (list(range(1000)), (Value("", "[0, 1, 2, … 1000 items]"),)),
        (object(), (Value("", "object(…)"),)),
        (..., (Value("", "ellipsis(…)"),)),
        (nn.ReLU, (Value("", "<ReLU>"),)),
        (nn.Linear(1, 1), (Value("", "Linear(…)"),)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_result_is_described_by_its_leaves(value: Any, leaves: tuple[Leaf, ...]) -> None:
    assert outputs(value) == leaves


class Takes(nn.Module):
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return args if len(args) != 1 else args[0]


ALIKE: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    *(
        ((value,), {})
        for value in (0, False, 0.0, -0.0, 0j, "0", b"0", None, (0,), [None], (0, 0), ((0,), 0), (0, (0,)))
    ),
    *(
        (args, {})
        for args in ((0, 0), (False, 0), (0, False), ("0", 0), (T, T), (T, (T,)), ((T,), T), ((T, T),), ([T, T],))
    ),
    *((args, kwargs) for args, kwargs in (((), {}), ((T,), {"a": T}), ((), {"a": T, "b": T}), ((), {"b": T, "a": T}))),
    *((args, {}) for args in ((T.double(), T), (T, T.double()), (nn.Parameter(T), T), (T, nn.Parameter(T)), (T.T, T))),
]


def test_values_that_are_much_alike_are_told_apart_in_one_recording() -> None:
    def leaves(*calls: tuple[tuple[Any, ...], dict[str, Any]]) -> list[tuple[tuple[Leaf, ...], tuple[Leaf, ...]]]:
        model = Takes()
        with fwdtrace.record(model) as recording:
            for args, kwargs in calls:
                model(*args, **kwargs)
        return [(call.inputs, call.outputs) for call in recording.trace.calls]

    alone = [leaves(call)[0] for call in ALIKE]
    assert leaves(*ALIKE, *ALIKE) == [*alone, *alone]
    assert len(set(alone)) == len(ALIKE) - 1  # a tuple and a list of tensors look the same


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("layout", [torch.strided, torch.jagged])
def test_the_ragged_dimension_of_a_nested_tensor_is_minus_one(layout: torch.layout) -> None:
    nested = torch.nested.nested_tensor([torch.ones(2, 3), torch.ones(4, 3)], layout=layout)
    (leaf,) = outputs(nested)
    assert isinstance(leaf, TensorMeta) and leaf.shape == (2, -1, 3)


@pytest.mark.filterwarnings("ignore")
def test_a_quantized_tensor_has_its_quantized_dtype() -> None:
    quantized = torch.quantize_per_tensor(T, 0.1, 0, torch.qint8)
    assert outputs(quantized) == (TensorMeta("", (2, 3), "qint8"),)


def test_a_packed_sequence_is_its_four_fields() -> None:
    packed = pack_padded_sequence(torch.ones(2, 3, 4), torch.tensor([3, 2]), batch_first=True)
    assert outputs(packed) == (
        f32(".data", 5, 4),
        TensorMeta(".batch_sizes", (3,), "int64"),
        Value(".sorted_indices", "None"),
        Value(".unsorted_indices", "None"),
    )


def test_a_list_that_holds_itself_ends_at_the_cycle() -> None:
    loop: list[Any] = [T]
    loop.append(loop)
    assert outputs(loop) == (f32("[0]"), Value("[1]", "<cycle>"))


def test_an_object_with_many_tensors_is_cut_and_says_so() -> None:
    class Cache:
        def __init__(self) -> None:
            self.layers = [torch.ones(1) for _ in range(20)]

    leaves = outputs(Cache())
    assert leaves[:2] == (f32(".layers[0]", 1), f32(".layers[1]", 1))
    assert leaves[8:] == (Value("", "Cache(…) holds more tensors than these 8"),)


def test_an_object_whose_attributes_must_not_be_read_is_named_by_its_class() -> None:
    class Untouchable:
        def __getattr__(self, name: str) -> Any:
            raise AssertionError(name)

        def __repr__(self) -> str:
            raise AssertionError

        def __eq__(self, other: object) -> bool:
            raise AssertionError

    assert outputs(Untouchable()) == (Value("", "Untouchable(…)"),)


def test_a_transformers_output_is_described_by_its_keys() -> None:
    from transformers.modeling_outputs import BaseModelOutput

    assert outputs(BaseModelOutput(last_hidden_state=T)) == (f32(".last_hidden_state"),)


def test_a_fake_tensor_is_described_like_a_real_one() -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        fake = torch.ones(2, 3)
        leaves = outputs(fake)
    assert leaves == (f32(""),)


def test_a_tensor_is_described_by_what_it_is_when_it_comes_again() -> None:
    class Changes(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return change(x)

    def change(x: Tensor) -> Tensor:
        return x.unsqueeze_(0).requires_grad_()

    model, tensor = nn.Sequential(nn.Identity(), Changes(), nn.Identity()), torch.ones(2)
    with fwdtrace.record(model) as recording:
        model(tensor)
    before = TensorMeta("input", (2,), "float32")
    after = TensorMeta("", (1, 2), "float32", requires_grad=True)
    identity, changes, last = recording.trace.calls[1:]
    assert (identity.inputs, changes.outputs, last.outputs) == ((before,), (after,), (after,))


def test_tensors_alike_are_described_alike_in_and_out_of_autocast_and_inference_mode() -> None:
    class Modes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            for _ in range(2):
                self.inner(x)
                with torch.autocast("cpu"):
                    self.inner(x)
                    self.inner(x)
                with torch.inference_mode():
                    self.inner(x)
                    self.inner(torch.ones(2))
            return x

    model = Modes()
    with fwdtrace.record(model) as recording:
        model(torch.ones(2))
    leaf = (TensorMeta("", (2,), "float32"),)
    assert [call.outputs for call in recording.trace.calls] == [leaf] * 11
