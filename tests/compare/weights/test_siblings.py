"""What a weight gets in all other layers, it gets where another holder would do as well by what it is given."""

from __future__ import annotations

import torch

from fwdtrace.compare.weight_map import Move, Piece
from fwdtrace.compare.weights.siblings import as_in_other_layers


def _state(*names: str) -> dict[str, torch.Tensor]:
    return {name: torch.randn(4) for name in names}


SOURCE = _state("pre.weight", "blocks.0.norm.weight", "blocks.1.norm.weight")
TARGET = _state("first.weight", "layers.0.n.weight", "layers.1.n.weight")


def _moved(proof: str, **names: str) -> dict[str, str]:
    moves = {name: Move(name, (Piece(old),), proof=proof) for name, old in names.items()}
    return {name: move.pieces[0].name for name, move in as_in_other_layers(moves, SOURCE, TARGET).items()}


def test_a_norm_that_got_the_weights_of_the_one_that_was_left_out_gets_those_of_its_layer() -> None:
    found = _moved("run", **{"layers.0.n.weight": "pre.weight", "layers.1.n.weight": "blocks.1.norm.weight"})
    expected = {"layers.0.n.weight": "blocks.0.norm.weight", "layers.1.n.weight": "blocks.1.norm.weight"}
    assert found == {**expected, "first.weight": "pre.weight"}


def test_what_is_checked_elsewhere_is_not_taken_away() -> None:
    moves = {
        "first.weight": "blocks.0.norm.weight",
        "layers.0.n.weight": "pre.weight",
        "layers.1.n.weight": "blocks.1.norm.weight",
    }
    assert _moved("run", **moves) == moves
