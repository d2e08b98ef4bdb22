"""What a model gives is taken apart into leaves with their places, copied, and compared leaf by leaf."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn

from fwdtrace.compare.direct.leaves import copied, named_leaves, same_leaf

ROW = torch.ones(2)
Pair = namedtuple("Pair", "left right")


@dataclass
class Output:
    logits: Any
    cache: Any = None


class Opaque:
    def __init__(self) -> None:
        self.keys = [ROW]


@pytest.mark.parametrize(
    ("value", "leaves"),
    [
        (ROW, [("", ROW)]),
        (None, [("", None)]),
        ((1, [2.5, "text"]), [("[0]", 1), ("[1][0]", 2.5), ("[1][1]", "text")]),
        ({"a": True, 3: b"x"}, [(".a", True), ("[3]", b"x")]),
        ({("a", 1): 1, ("a", 2): 2}, [("[('a', 1)]", 1), ("[('a', 2)]", 2)]),
        (Pair(1, 2), [(".left", 1), (".right", 2)]),
        (OrderedDict(logits=ROW), [(".logits", ROW)]),
        (Output(ROW), [(".logits", ROW), (".cache", None)]),
        (Opaque(), [(".keys[0]", ROW)]),
        (ROW.shape, [("", torch.Size([2]))]),
        ([nn.Linear(1, 1), int, len], []),
    ],
)
def test_every_tensor_number_and_string_has_its_place(value: Any, leaves: list[tuple[str, Any]]) -> None:
    assert list(named_leaves(value)) == leaves


def test_a_value_that_holds_itself_ends() -> None:
    loop: list[Any] = [1]
    loop.append(loop)
    assert [place for place, _ in named_leaves(loop)] == ["[1]" * depth + "[0]" for depth in range(8)]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (ROW, ROW.clone(), True),
        (ROW, ROW + 1, False),
        (ROW, 1.0, False),
        (1, 1, True),
        (1, True, False),
        (1, 1.0, False),
        (float("nan"), float("nan"), True),
        ("a", "b", False),
        (None, None, True),
    ],
)
def test_leaves_are_the_same_by_type_and_value(one: Any, other: Any, same: bool) -> None:
    assert same_leaf(one, other) == same


def test_copies_share_no_tensor_and_require_the_gradients_that_are_asked_for() -> None:
    value = (Pair(ROW, [torch.arange(2)]), {"x": ROW.clone().requires_grad_()}, "text")
    for with_gradients in (False, True):
        pair, mapping, text = copied(value, with_gradients=with_gradients)
        assert type(pair) is Pair and text == "text"
        assert torch.equal(pair.left, ROW) and pair.left.data_ptr() != ROW.data_ptr()
        assert pair.left.requires_grad == with_gradients
        assert not pair.right[0].requires_grad and mapping["x"].requires_grad
