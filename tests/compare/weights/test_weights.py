"""Weights go from one model into another by name, or as both run and each module is checked; what is left is named."""

from __future__ import annotations

import copy
from collections import OrderedDict
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from fwdtrace.compare.two_models.recorded import Runnable
from fwdtrace.compare.two_models.runs import compare_runs
from fwdtrace.compare.weight_map import Piece
from fwdtrace.compare.weights.lively import draw_lively
from fwdtrace.compare.weights.weights import copy_weights, in_words, those_that_matter


class Norm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.randn(4))

    def forward(self, x: Tensor) -> Tensor:
        return functional.rms_norm(x, (4,), self.gain, eps=1e-6)


class Tokens(nn.Module):
    def __init__(self, norm: nn.Module, first: str) -> None:
        super().__init__()
        self.register_parameter(first, nn.Parameter(torch.randn(1, 1, 4)))
        self.first = first
        self.add_module(f"{first}_norm", norm)

    def forward(self, x: Tensor) -> Tensor:
        start: Tensor = getattr(self, self.first)
        return getattr(self, f"{self.first}_norm")(torch.cat([start, x], 1))  # type: ignore[no-any-return]


class NormAndActivation(nn.BatchNorm1d):
    def __init__(self) -> None:
        super().__init__(4)
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(super().forward(x))  # type: ignore[no-any-return]


class Columns(nn.Module):
    """A layer with a column for each output, as in GPT-2."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(inputs, outputs))
        self.bias = nn.Parameter(torch.randn(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight + self.bias


class Attention(nn.Module):
    """Attention with its three matrices apart, together, or together head by head."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.num_heads = how, 2
        if how == "apart":
            self.query, self.key, self.value = (nn.Linear(8, 8) for _ in range(3))
        else:
            self.qkv = nn.Linear(8, 24)
        self.proj = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "apart":
            q, k, v = (layer(x).view(2, 5, 2, 4).transpose(1, 2) for layer in (self.query, self.key, self.value))
        elif self.how == "together":
            q, k, v = self.qkv(x).view(2, 5, 3, 2, 4).permute(2, 0, 3, 1, 4)
        else:
            q, k, v = self.qkv(x).view(2, 5, 2, 3, 4).permute(3, 0, 2, 1, 4)
        y = functional.scaled_dot_product_attention(q, k, v)
        return self.proj(y.transpose(1, 2).reshape(2, 5, 8))  # type: ignore[no-any-return]


class TorchAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mha = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.mha(x, x, x, need_weights=False)[0]  # type: ignore[no-any-return]


class Whole(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.LSTM(4, 4, batch_first=True), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[0])  # type: ignore[no-any-return]


class Cells(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell, self.last = nn.LSTMCell(4, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = c = x.new_zeros(len(x), 4)
        found = []
        for time in range(x.shape[1]):
            h, c = self.cell(x[:, time], (h, c))
            found.append(h)
        return self.last(torch.stack(found, 1))  # type: ignore[no-any-return]


class Channels(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.transpose(1, 2)).transpose(1, 2)  # type: ignore[no-any-return]


def layers(*modules: nn.Module, names: str) -> nn.Module:
    return nn.Sequential(OrderedDict(zip(names, modules, strict=True)))


PAIRS: dict[str, tuple[nn.Module, nn.Module, tuple[int, ...]]] = {
    "a norm and a token by their places": (
        Tokens(nn.RMSNorm(4, 1e-6), "cls_token"),
        Tokens(Norm(), "start"),
        (1, 2, 4),
    ),
    "a norm that holds its activation": (
        layers(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2), names="abcd"),
        layers(nn.Linear(4, 4), NormAndActivation(), nn.Linear(4, 2), names="xyz"),
        (3, 4),
    ),
    "columns for rows": (
        layers(Columns(4, 4), Columns(4, 6), names="ab"),
        layers(nn.Linear(4, 4), nn.Linear(4, 6), names="xy"),
        (3, 4),
    ),
    "a matrix for a convolution of one place": (
        Channels(nn.Conv1d(4, 6, 1)),
        layers(nn.Linear(4, 6), names="x"),
        (2, 5, 4),
    ),
    "three matrices into one": (Attention("apart"), Attention("together"), (2, 5, 8)),
    "one matrix into three": (Attention("together"), Attention("apart"), (2, 5, 8)),
    "three matrices into one, head by head": (Attention("apart"), Attention("by head"), (2, 5, 8)),
    "one matrix, head by head, into three": (Attention("by head"), Attention("apart"), (2, 5, 8)),
    "the attention of torch into one by hand": (TorchAttention(), Attention("apart"), (2, 5, 8)),
    "one by hand into the attention of torch": (Attention("together"), TorchAttention(), (2, 5, 8)),
    "an LSTM into its cells": (Whole(), Cells(), (2, 3, 4)),
    "cells into an LSTM": (Cells(), Whole(), (2, 3, 4)),
}


@pytest.mark.parametrize("name", PAIRS)
def test_all_weights_are_moved_and_the_results_agree(name: str) -> None:
    model, port, shape = PAIRS[name]
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    draw_lively(model.eval(), 3)
    sides = Runnable(model, (x,), {}), Runnable(port.eval(), (x,), {})
    moved = copy_weights(*sides)
    assert len(moved.moves) == moved.of and not moved.left and not moved.unused and not moved.ambiguous
    found = compare_runs(*sides)
    assert found.equal, found.verdict


def test_a_fused_matrix_is_made_of_its_parts_in_their_order() -> None:
    model, port, x = Attention("apart"), Attention("together"), torch.randn(2, 5, 8)
    moved = copy_weights(*(Runnable(each, (x,), {}) for each in (model, port)))
    pieces = {move.target: move.pieces for move in moved.moves}
    assert pieces["qkv.weight"] == (Piece("query.weight"), Piece("key.weight"), Piece("value.weight"))
    assert torch.equal(port.qkv.weight[8:16], model.key.weight)  # type: ignore[union-attr]


def test_what_is_no_tensor_in_a_state_dict_is_left_alone() -> None:
    class Counted(nn.Linear):
        def get_extra_state(self) -> Any:
            return {"steps": 3}

        def set_extra_state(self, state: Any) -> None:
            assert state == {"steps": 3}

    model, port = (nn.ModuleDict({name: Counted(2, 2)}) for name in "aa")
    said = in_words(copy_weights(Runnable(model, (), {}), Runnable(port, (), {})))
    assert said == "2 of 2 weights of the second are copies of the first's"


def test_a_weight_without_a_shape_so_far_is_left_alone() -> None:
    model, port = (nn.Sequential(nn.LazyLinear(2), nn.Linear(2, 2)) for _ in range(2))
    said = in_words(copy_weights(Runnable(model, (), {}), Runnable(port, (), {})))
    assert said == "2 of 2 weights of the second are copies of the first's"


def test_weights_that_could_be_any_of_several_are_left() -> None:
    model, port = (nn.ModuleDict({name: nn.Linear(2, 2) for name in names}) for names in ("ab", "cd"))
    said = in_words(copy_weights(Runnable(model, (), {}), Runnable(port, (), {})))
    assert said.startswith("0 of 4 weights of the second are copies of the first's; 4 left as they were: c.weight")


def test_the_copied_weights_are_counted_and_those_left_are_named() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 3))
    other = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 4)})
    text = in_words(copy_weights(Runnable(model, (), {}), Runnable(other, (), {}), ["0=a", "1=b"]))
    assert text == (
        "2 of 4 weights of the second are copies of the first's; 2 left as they were: b.weight, b.bias; "
        "2 of the first not used: 1.weight, 1.bias"
    )
    assert torch.equal(other["a"].weight, model[0].weight)


def test_a_weight_that_was_not_moved_matters_if_the_results_change_with_it() -> None:
    port = layers(nn.Linear(4, 4), nn.Linear(4, 2), names="xy")
    port.register_parameter("spare", nn.Parameter(torch.randn(3)))
    side = Runnable(port, (torch.randn(2, 4),), {})
    assert those_that_matter(side, ["spare"], 0) == ()
    assert those_that_matter(side, ["spare", "y.bias"], 0) == ("y.bias",)


def test_a_model_with_a_fault_before_a_module_still_gets_the_weights_of_that_module() -> None:
    class Faulty(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.x, self.y = nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.y(self.x(x) * 3)  # type: ignore[no-any-return]

    model, port = layers(nn.Linear(4, 4), nn.Linear(4, 2), names="ab"), Faulty()
    x = torch.randn(3, 4)
    sides = Runnable(model, (x,), {}), Runnable(port, (x,), {})
    moved = copy_weights(*sides)
    assert [move.proof for move in moved.moves] == ["run"] * 4
    found = compare_runs(sides[0], replace(sides[1], args=(x,)))
    assert found.origin is not None and found.origin.op == "*"
    assert found.outputs is not None and found.outputs.equal is False


class Noted(nn.Module):
    """Two layers, with a note of each call; the second may be used by its weights alone, or not at all."""

    def __init__(self, last: str = "called") -> None:
        super().__init__()
        self.start, self.end, self.last = nn.Linear(4, 4), nn.Linear(4, 4), last
        self.calls: list[str] = []

    def __deepcopy__(self, memo: dict[int, Any]) -> Noted:
        copied = Noted(self.last)
        copied.start, copied.end = copy.deepcopy((self.start, self.end), memo)
        copied.calls = self.calls
        return copied

    def forward(self, x: Tensor) -> Tensor:
        self.calls.append(self.last)
        x = self.start(x)
        if self.last == "by its weights":
            return functional.linear(x, self.end.weight, self.end.bias)
        return self.end(x) if self.last == "called" else x


@pytest.mark.parametrize(("last", "runs"), [("called", 1), ("by its weights", 5), ("not at all", 4)])
def test_a_model_runs_once_to_be_moved_into_if_each_layer_with_weights_is_called(last: str, runs: int) -> None:
    first, second = layers(nn.Linear(4, 4), nn.Linear(4, 4), names="ab"), Noted(last)
    x = torch.rand(3, 4)
    copy_weights(Runnable(first, (x,), {}), Runnable(second, (x,), {}))
    assert len(second.calls) == runs
    assert torch.equal(second.start.weight, first.get_parameter("a.weight"))


class NotCopied(nn.Linear):
    """A layer that cannot be copied."""

    def __deepcopy__(self, memo: dict[int, Any]) -> NotCopied:
        raise KeyError("there is one of it")


class NotHooked(nn.Linear):
    """A layer that takes no hooks, as none of TorchScript does."""

    def register_forward_pre_hook(self, *given: Any, **named: Any) -> Any:
        raise RuntimeError("it is not supported")


@pytest.mark.parametrize("second", [NotCopied(4, 4), NotHooked(4, 4)])
def test_the_weights_of_a_model_that_cannot_be_looked_into_go_by_their_names(second: nn.Module) -> None:
    first, others = nn.ModuleDict({"a": nn.Linear(4, 4)}), nn.ModuleDict({"b": second})
    found = copy_weights(Runnable(first, (), {}), Runnable(others, (), {}))
    assert {move.target: move.pieces[0].name for move in found.moves} == {"b.weight": "a.weight", "b.bias": "a.bias"}
    assert torch.equal(others.get_parameter("b.weight"), first.get_parameter("a.weight"))


def test_a_mistake_of_ours_in_the_search_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def mistaken(*given: object) -> None:
        raise KeyError("ours")

    monkeypatch.setattr("fwdtrace.compare.weights.by_running.settled_at_first", mistaken)
    first, second = layers(nn.Linear(4, 4), names="a"), layers(nn.Linear(4, 4), names="b")
    with pytest.raises(KeyError, match="ours"):
        copy_weights(*(Runnable(each, (torch.rand(3, 4),), {}) for each in (first, second)))
