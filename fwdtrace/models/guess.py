"""Inputs for a model when nobody gave one: what the model itself says, else what its first layers can take."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping

from torch import Tensor, nn

from fwdtrace.models.spec import Inputs
from fwdtrace.trace import Call, Trace, tensors_in

IMAGE_SIDES = (32, 28, 64, 96, 128, 224, 256, 299, 384, 512)
SEQUENCE_LENGTHS = (64, 1024, 16000)
MOST_LAYERS = 3
"""So many kinds of layers are asked what they take, in the order in which they ran or were made."""


def declared_inputs(module: nn.Module) -> Inputs | tuple[str, ...] | None:
    """What the model says that it takes: its `example_input_array`, `dummy_inputs` or `input_size`, as libraries do."""
    for name in ("example_input_array", "dummy_inputs"):
        try:
            example = getattr(module, name, None)
        except Exception:  # a property of the user's
            continue
        if isinstance(example, Tensor):
            return Inputs((example,), {})
        if isinstance(example, Mapping) and example and all(isinstance(key, str) for key in example):
            return Inputs((), dict(example))
        if isinstance(example, (tuple, list)) and any(isinstance(part, Tensor) for part in example):
            return Inputs(tuple(example), {})
    size = getattr(module, "input_size", None)
    if isinstance(size, (tuple, list)) and size and all(type(part) is int and part > 0 for part in size):
        return (_text(1, *size),)
    return None


def required_arguments(module: nn.Module) -> int:
    """How many arguments `forward` cannot do without; 1 if it does not say."""
    try:
        parameters = inspect.signature(module.forward).parameters.values()
    except (TypeError, ValueError):  # a ScriptModule's forward has no signature
        return 1
    by_position = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(parameter.default is parameter.empty and parameter.kind in by_position for parameter in parameters)


def guessed_inputs(module: nn.Module, trace: Trace | None = None) -> Iterator[tuple[str, ...]]:
    """`--input` texts that the first layers take: of those that were given an argument, then of the first ones made."""
    number = max(1, required_arguments(module))
    seen = set()
    for layer in _first_layers(module, trace):
        for form in forms_of(layer):
            if form not in seen:
                seen.add(form)
                yield (form,) * number


def forms_of(layer: nn.Module) -> Iterable[str]:
    """What a layer of torch's takes, as `--input` texts; none if it takes anything."""
    if isinstance(layer, (nn.Embedding, nn.EmbeddingBag)):
        return (f"1x8:int64:0..{layer.num_embeddings}",)
    if isinstance(layer, nn.Linear):
        return (_text(1, layer.in_features), _text(1, 8, layer.in_features))
    if isinstance(layer, nn.Conv1d):
        return [_text(1, layer.in_channels, length) for length in SEQUENCE_LENGTHS]
    if isinstance(layer, nn.Conv2d):
        return [_text(1, layer.in_channels, side, side) for side in IMAGE_SIDES]
    if isinstance(layer, nn.Conv3d):
        return [_text(1, layer.in_channels, side, side, side) for side in (16, 32, 64)]
    if isinstance(layer, nn.RNNBase):
        return (_text(1, 8, layer.input_size),)
    if isinstance(layer, nn.MultiheadAttention):
        return (_text(1, 8, layer.embed_dim),)
    if isinstance(layer, nn.LayerNorm):
        return (_text(1, 8, *layer.normalized_shape), _text(1, *layer.normalized_shape))
    if isinstance(layer, nn.BatchNorm1d):
        return (_text(1, layer.num_features), _text(1, layer.num_features, 8))
    return ()


def _first_layers(module: nn.Module, trace: Trace | None) -> list[nn.Module]:
    ran = [_module(module, call) for call in trace.innermost if _takes_argument(call)] if trace is not None else []
    layers = [layer for layer in (*ran, *module.modules()) if layer is not None and forms_of(layer)]
    first: dict[tuple[str, ...], nn.Module] = {}
    for layer in layers:
        first.setdefault(tuple(forms_of(layer)), layer)
    return list(first.values())[:MOST_LAYERS]


def _takes_argument(call: Call) -> bool:
    return any(leaf.source is not None and leaf.source.argument for leaf in tensors_in(call.inputs))


def _module(module: nn.Module, call: Call) -> nn.Module | None:
    try:
        return module.get_submodule(call.path) if call.path is not None else None
    except AttributeError:
        return None


def _text(*sizes: int) -> str:
    return "x".join(map(str, sizes))
