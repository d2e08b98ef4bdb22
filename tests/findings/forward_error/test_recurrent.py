"""FT006 for recurrent layers, on traces written by hand."""

from __future__ import annotations

from tests.helpers.crashes import advised, explained, layer, tensor


def test_the_states_of_both_directions_are_counted_by_layers_and_directions() -> None:
    call = layer("gru", "GRU", tensor("input", 3, 2, 4), tensor("hx", 1, 3, 8), settings="4, 8, bidirectional=True")
    says = explained(call, "Expected hidden size (2, 3, 8), got [1, 3, 8]")
    assert "expects hidden of 2×3×8 (layers·directions×batch×features), got 1×3×8" in says
    assert advised(call, "Expected hidden size (2, 3, 8), got [1, 3, 8]") == ["pass hx.repeat(2, 1, 1) to gru"]


def test_states_for_another_batch_are_not_repeated() -> None:
    call = layer("gru", "GRU", tensor("input", 3, 2, 4), tensor("hx", 1, 2, 8), settings="4, 8, num_layers=2")
    assert advised(call, "Expected hidden size (2, 3, 8), got [1, 2, 8]") == []
