"""FT006 for losses, on traces written by hand."""

from __future__ import annotations

import pytest

from tests.helpers.crashes import advised, explained, layer, tensor


@pytest.mark.parametrize(
    ("loss", "given", "target", "message", "says", "advice"),
    [
        (
            "CrossEntropyLoss", (2, 5, 8, 8), (2, 1, 8, 8),
            "only batches of spatial targets supported (3D tensors) but got targets of dimension: 4",
            "expects a target of 2×8×8 for an input of 2×5×8×8, got 2×1×8×8", ["pass target.squeeze(1) to loss"],
        ),
        (
            "CrossEntropyLoss", (4, 5), (4, 1), "0D or 1D target tensor expected, multi-target not supported",
            "expects a target of 4 for an input of 4×5, got 4×1", ["pass target.squeeze(1) to loss"],
        ),
        (
            "CrossEntropyLoss", (4, 7, 5), (4, 7), "Expected target size [4, 5], got [4, 7]",
            "expects a target of 4×5 for an input of 4×7×5, got 4×7; dimension 1 has 7 classes, or the classes are"
            " last", ["pass input.transpose(1, 2) to loss"],
        ),
        (
            "CrossEntropyLoss", (4, 5), (3,), "Expected input batch_size (4) to match target batch_size (3).",
            "expects a target of 4 for an input of 4×5, got 3", [],
        ),
        (
            "BCEWithLogitsLoss", (4, 1), (4,),
            "Target size (torch.Size([4])) must be the same as input size (torch.Size([4, 1]))",
            "expects a target of 4×1, as its input is, got 4", ["pass target.unsqueeze(1) to loss"],
        ),
        (
            "NLLLoss", (4, 5), (4,), "Target 5 is out of bounds.",
            "has an input of 5 classes, so targets run from 0 to 4; got 5", [],
        ),
        (
            "CrossEntropyLoss", (4, 5), (4,), "expected target dtype to be Long or Byte, but got Float",
            "expects a target of int64, got float32", ["pass target.to(torch.int64) to loss"],
        ),
    ],
)  # fmt: skip
def test_what_the_target_has_to_be_is_said(
    loss: str, given: tuple[int, ...], target: tuple[int, ...], message: str, says: str, advice: list[str]
) -> None:
    call = layer("loss", loss, tensor("input", *given), tensor("target", *target))
    assert explained(call, message).startswith(f"loss ({loss}) {says}; given input") or explained(call, message) == (
        f"loss ({loss}) {says}"
    )
    assert advised(call, message) == advice


def test_a_target_of_another_shape_and_another_dtype_is_changed_in_both() -> None:
    loss = layer("loss", "BCEWithLogitsLoss", tensor("input", 4, 1), tensor("target", 4, dtype="int64"))
    message = "Target size (torch.Size([4])) must be the same as input size (torch.Size([4, 1]))"
    assert "expects a target of 4×1 float32, as its input is, got 4 int64" in explained(loss, message)
    assert advised(loss, message) == ["pass target.unsqueeze(1).to(torch.float32) to loss"]
