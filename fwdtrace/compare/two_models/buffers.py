"""The buffers of two models that were alike before both ran and are not any more -> each Difference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from torch import Tensor, nn

from fwdtrace.compare.difference import Difference
from fwdtrace.compare.numbers.tensors import distance_of_tensors
from fwdtrace.compare.weight_map import WeightMap


def copies_of_buffers(model: nn.Module) -> dict[str, Tensor]:
    """The buffers as they are now; those without numbers are left out."""
    return {name: buffer.clone() for name, buffer in model.named_buffers() if not buffer.is_meta}


def differences_in_buffers(
    before: Sequence[Mapping[str, Tensor]], models: tuple[nn.Module, nn.Module], weights: WeightMap | None
) -> Iterator[Difference]:
    """The buffers that the runs have left in another state; `before` has them as they were on both sides."""
    ours, theirs = (dict(model.named_buffers()) for model in models)
    partners = {move.target: move.pieces[0].name for move in weights.moves} if weights is not None else {}
    for name, buffer in theirs.items():
        old = partners.get(name, name)
        if old not in ours or old not in before[0] or name not in before[1]:
            continue
        was, became = before[0][old], before[1][name]
        if was.shape != became.shape or not distance_of_tensors(was, became).same:
            continue
        if ours[old].shape == buffer.shape and not (apart := distance_of_tensors(ours[old], buffer)).close:
            message = f"{old} is not the same after the call, {apart.text}"
            yield Difference("buffer", "numbers", old, "", "", message)
