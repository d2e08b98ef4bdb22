"""The oracle, judged against accounts written by hand: order, parent, entry, shapes in and out, and errors."""

from __future__ import annotations

import sys
import threading

import pytest
import torch
from torch import nn

from tests.helpers import models
from tests.helpers.small_models import SMALL_MODELS
from tests.oracle.oracle import Leaf, Oracle, Seen, observe

ACCOUNTS: dict[str, str] = {
    "Chain": """
        · __call__ 2×4 → 2×3
          first __call__ 2×4 → 2×4
          second __call__ 2×4 → 2×3""",
    "CallsTwice": """
        · __call__ 2×4 → 2×4
          layer __call__ 2×4 → 2×4
          layer __call__ 2×4 → 2×4""",
    "HasTwoNames": """
        · __call__ 2×4 → 2×4
          head __call__ 2×4 → 2×4""",
    "CallsDirectly": """
        · __call__ 2×4 → 2×3
          first __call__ 2×4 → 2×4
          second forward 2×4 → 2×3""",
    "CallsThroughTheClass": """
        · __call__ 2×4 → 2×4
          layer forward 2×4 → 2×4""",
    "CallsACapturedForward": """
        · __call__ 2×4 → 2×4
          layer forward 2×4 → 2×4""",
    "DirectWithinDirect": """
        · __call__ 2×4 → 2×3
          block forward 2×4 → 2×3
            block.first __call__ 2×4 → 2×4
            block.second __call__ 2×4 → 2×3""",
    "CallsThroughAMethod": """
        · __call__ 2×4 → 2×4
          encoder.layer __call__ 2×4 → 2×4""",
    "CallsSuper": """
        · __call__ 2×4 → 2×3
          first __call__ 2×4 → 2×4
          second __call__ 2×4 → 2×3""",
    "CallsItsBase": """
        · __call__ 2×4 → 2×3
          first __call__ 2×4 → 2×4
          second __call__ 2×4 → 2×3""",
    "Decorated": """
        · __call__ 2×4 → 2×3
          first __call__ 2×4 → 2×4
          second __call__ 2×4 → 2×3""",
    "DecoratedTwice": """
        · __call__ 2×4 → 2×3
          first __call__ 2×4 → 2×4
          second __call__ 2×4 → 2×3""",
    "DecoratedByNoGrad": """
        · __call__ 2×4 → 2×4
          layer __call__ 2×4 → 2×4""",
    "Recurses": """
        · __call__ 2×4 → 2×4
          · __call__ 2×4 → 2×4
            · __call__ 2×4 → 2×4
              · __call__ 2×4 → 2×4""",
    "RecursesDirectly": """
        · __call__ 2×4 → 2×4
          · forward 2×4 → 2×4
            · forward 2×4 → 2×4""",
    "OverridesCall": """
        · __call__ 2×4 → 2×4
          layer __call__ 2×4 → 2×4""",
    "ExtendsCall": """
        · __call__ 2×4 → 2×3
          first __call__ 2×4 → 2×4
          second __call__ 2×4 → 2×3""",
    "UsesUnregistered": """
        · __call__ 2×4 → 2×4
          ? __call__ 2×4 → 2×4
          ? __call__ 2×4 → 2×4
          ? __call__ 2×4 → 2×4""",
    "SwapsALayer": """
        · __call__ 2×4 → 2×4
          layer __call__ 2×4 → 2×4""",
    "NestedLayers": """
        · __call__ 2×4 → 2×3
          parts.blocks.0 __call__ 2×4 → 2×3
            parts.blocks.0.first __call__ 2×4 → 2×4
            parts.blocks.0.second __call__ 2×4 → 2×3
          parts.blocks.1 __call__ 2×4 → 2×3
            parts.blocks.1.first __call__ 2×4 → 2×4
            parts.blocks.1.second __call__ 2×4 → 2×3""",
    "CallsNothingReturned": """
        · __call__ 2×4 → 2×4
          silent __call__ 2×4 → nothing""",
    "CatchesAnError": """
        · __call__ 2×4 → 2×4
          broken __call__ 2×4 → raised
          layer __call__ 2×4 → 2×4""",
    "RaisesBelow": """
        · __call__ 2×4 → raised
          broken __call__ 2×4 → raised
            broken.0 __call__ 2×4 → 2×4
            broken.1 __call__ 2×4 → raised""",
    "Interrupted": """
        · __call__ 2×4 → raised""",
    "NeverCalls": """
        · __call__ 2×4 → 2×4
          layer __call__ 2×4 → 2×4""",
    "Cyclic": """
        · __call__ 2×4 → 2×4
          child __call__ 2×4 → 2×4""",
    "ReplacedForward": """
        · __call__ 2×4 → 2×4
          layer __call__ 2×4 → 2×4""",
    "ReplacedForwardCalledDirectly": """
        · __call__ 2×4 → 2×4
          layer forward 2×4 → 2×4""",
    "HookCallsForward": """
        · __call__ 2×4 → 2×4
          layer __call__ 2×4 → 2×4
            layer forward 2×4 → 2×4""",
    "HookCallsAnother": """
        · __call__ 2×4 → 2×4
          layer __call__ 2×4 → 2×4
            probe __call__ 2×4 → 2×4""",
    "Yields": """
        · __call__ 2×4 → 2×2×4
          layer __call__ 2×4 → 2×4
          layer __call__ 2×4 → 2×4""",
    "RunsAThread": """
        · __call__ 2×4 → 2×4
          layer __call__ 2×4 → 2×4""",
    "CopiesALayer": """
        · __call__ 2×4 → 2×4
          ? __call__ 2×4 → 2×4""",
    "Scripted": """
        · __call__ 2×4 → 2×3
          script __call__ 2×4 → 2×3""",
    "CallsAGraph": """
        · __call__ 2×4 → 2×3
          graph __call__ 2×4 → 2×3
            graph.first __call__ 2×4 → 2×4
            graph.second __call__ 2×4 → 2×3""",
    "CallsVmapped": """
        · __call__ 2×4 → 2×4
          layer __call__ 4 → 4""",
    "CallsWithOtherWeights": """
        · __call__ 2×4 → 2×4
          layer __call__ 2×4 → 2×4""",
    "CallsByOtherNames": """
        · __call__ 2×4 → 2×4
          layer __call__ 2×4 → 2×4
          layer __call__ 2×4 → 2×4
          layer __call__ 2×4 → 2×4""",
    "CallsThroughPartial": """
        · __call__ 2×4 → 2×4
          layer forward 2×4 → 2×4""",
    "CallsThroughMap": """
        · __call__ 2×4 → 2×4
          layer __call__ 2×4 → 2×4
          layer forward 2×4 → 2×4""",
    "HookChangesTheInput": """
        · __call__ 2×4 → 1×1
          layer __call__ 2×4 → 1×1""",
    "PreHookRaises": """
        · __call__ 2×4 → 2×4
          layer __call__ 2×4 → raised
          other __call__ 2×4 → 2×4""",
    "HookRaises": """
        · __call__ 2×4 → 2×4
          layer __call__ 2×4 → raised
          other __call__ 2×4 → 2×4""",
    "GeneratorForward": """
        · __call__ 2×4 → 2×2×4
          steps __call__ 2×4 → nothing
          steps.layer __call__ 2×4 → 2×4
          steps.layer __call__ 2×4 → 2×4""",
    "CleansUpAfterAnInterrupt": """
        · __call__ 2×4 → raised
          child __call__ 2×4 → raised
          cleaner __call__ 2×4 → 2×4""",
    "MixesIn": """
        · __call__ 2×4 → 2×4
          mixed __call__ 2×4 → 2×4
          mixed forward 2×4 → 2×4""",
    "CallsForwardOfABase": """
        · __call__ 2×4 → 2×4
          layer forward 2×4 → 2×4""",
}


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.parametrize("name", ACCOUNTS)
def test_the_oracle_gives_the_account_written_by_hand(name: str) -> None:
    model = SMALL_MODELS[name]()
    expected = [line.removeprefix(" " * 8) for line in ACCOUNTS[name].splitlines()[1:]]
    assert account(watched(model, torch.ones(2, 4))) == expected


def test_arguments_are_named_by_parameter_then_key_or_index() -> None:
    seen = watched(models.CallsTakesEverything(), torch.ones(2, 4)).calls[1]
    wide, flat = (2, 4), (4,)
    assert seen.inputs == (
        ("x", wide, "float32"),
        ("rest[0][0]", wide, "float32"),
        ("rest[0][1].y", flat, "float32"),
        ("mask", wide, "bool"),
        ("extra[0]", wide, "float32"),
    )
    assert seen.outputs[:3] == (
        (".x", wide, "float32"),
        (".pair.left", wide, "float32"),
        (".pair.right", (1, 4), "float32"),
    )


def test_a_dataclass_is_named_by_its_fields() -> None:
    seen = watched(models.ReturnsADataclass(), torch.ones(2, 4)).calls[0]
    assert [name for name, _, _ in seen.outputs] == [".logits", ".hidden[0]", ".hidden[1]"]


def test_calls_of_a_module_are_counted_from_one() -> None:
    oracle = watched(models.CallsTwice(), torch.ones(2, 4))
    assert [(call.path, call.nth) for call in oracle.calls] == [("", 1), ("layer", 1), ("layer", 2)]


def test_a_module_outside_the_root_is_seen_only_inside_its_forward() -> None:
    model, stranger = models.UsesUnregistered(), nn.ReLU()
    with observe(model) as oracle:
        stranger(torch.ones(1))
        model(torch.ones(2, 4))
    assert [call.path for call in oracle.calls] == ["", None, None, None]


def test_a_root_run_by_its_forward_is_a_direct_call() -> None:
    model = models.Chain()
    with observe(model) as oracle:
        model.forward(torch.ones(2, 4))
    entries = [(call.path, call.entry) for call in oracle.calls]
    assert entries == [("", "forward"), ("first", "__call__"), ("second", "__call__")]


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
def test_a_nested_tensor_has_minus_one_for_a_ragged_size() -> None:
    model = nn.Identity()
    with observe(model) as oracle:
        model(torch.nested.nested_tensor([torch.ones(2, 4), torch.ones(3, 4)]))
    assert oracle.calls[0].outputs == (("", (2, -1, 4), "float32"),)


def test_the_profile_functions_are_given_back() -> None:
    before = sys.getprofile(), threading.getprofile()
    watched(SMALL_MODELS["Raises"](), torch.ones(1))
    assert (sys.getprofile(), threading.getprofile()) == before


def watched(model: nn.Module, x: torch.Tensor) -> Oracle:
    """The oracle's account of `model(x)`, which may raise what the small models raise."""
    with observe(model) as oracle:
        try:
            model(x)
        except (ValueError, KeyboardInterrupt):
            return oracle
    return oracle


def account(oracle: Oracle) -> list[str]:
    """One line a call, indented below its parent: path (· the root, ? outside), entry, shapes in and out."""
    depths: list[int] = []
    for call in oracle.calls:
        depths.append(0 if call.parent is None else depths[call.parent] + 1)
    return ["  " * depth + line(call) for depth, call in zip(depths, oracle.calls, strict=True)]


def line(call: Seen) -> str:
    """One call as one line."""
    path = {"": "·", None: "?"}.get(call.path, call.path)
    outputs = "raised" if call.raised else shapes(call.outputs) or "nothing"
    return f"{path} {call.entry} {shapes(call.inputs)} → {outputs}"


def shapes(leaves: tuple[Leaf, ...]) -> str:
    """The shapes of some leaves, `2×4, 3`."""
    return ", ".join("×".join(map(str, shape)) for _, shape, _ in leaves)
