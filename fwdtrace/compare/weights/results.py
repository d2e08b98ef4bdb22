"""What a copy of a model gives with some weights, and whether that is what the first model gave."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from fwdtrace.compare.two_models.light_copy import light_copy, put, tensors_of
from fwdtrace.compare.two_models.outputs import outputs_of
from fwdtrace.compare.two_models.recorded import Runnable, named_tensors
from fwdtrace.compare.weights.weight_values import State
from fwdtrace.models.randomness import seed_all


def results_with(runnable: Runnable, seed: int, values: Mapping[str, Tensor | None]) -> list[tuple[str, Tensor]] | None:
    """What a copy of the model gives with these weights, or with noise in place of one; None if it raises."""
    try:
        model, args, kwargs = light_copy(runnable.model, runnable.args, runnable.kwargs)
        state = tensors_of(model)
        generator = torch.Generator().manual_seed(seed)
        seed_all(seed)
        with torch.no_grad():
            for name, value in values.items():
                noise = torch.randn(state[name].shape, generator=generator).to(state[name]) if value is None else value
                put(state[name], noise)
            return list(named_tensors(model(*args, **kwargs)).items())
    except Exception:  # the model is the user's
        return None


def agree(results: Mapping[str, Tensor], gave: Iterable[tuple[str, Tensor]] | None) -> bool:
    """Whether these results are those of the first model, within what float32 rounds."""
    if gave is None:
        return False
    outputs = outputs_of(list(results.items()), list(gave))
    distances = [pair.apart.relative for pair in outputs.pairs if not pair.apart.same]
    return bool(outputs.pairs) and all(distance is not None and distance < 1e-4 for distance in distances)


def shapes_of(state: State) -> dict[str, torch.Size]:
    """The shape of each weight."""
    return {name: each.shape for name, each in state.items()}
