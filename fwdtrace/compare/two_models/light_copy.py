"""A copy of a model that has its parameters in the same memory, so that it costs little; each can be put elsewhere."""

from __future__ import annotations

import copy
from collections import OrderedDict
from typing import Any

from torch import Tensor, nn


class CannotCopyError(Exception):
    """A model or its arguments cannot be copied; the cause is what they raised."""


def light_copy(model: nn.Module, args: Any, kwargs: Any) -> tuple[nn.Module, Any, Any]:
    """Copies of a model and its arguments; the parameters are others that share the memory of the model's own.

    CannotCopyError if they raise. What a forward writes into a parameter, as an embedding with `max_norm` does, is
    written into that of the model.
    """
    shared: dict[int, Any] = {}
    for parameter in model.parameters():
        if type(parameter) is nn.Parameter:
            shared[id(parameter)] = nn.Parameter(parameter.detach(), requires_grad=parameter.requires_grad)
    for module in model.modules():
        for value in vars(module).values():
            if isinstance(value, Tensor) and not value.is_leaf:  # as the weight that `nn.utils.weight_norm` computes
                shared[id(value)] = value.detach().clone()
            elif type(value) in (dict, OrderedDict) and not value:  # each module has a dozen, for hooks of each kind
                shared[id(value)] = type(value)()
    try:
        copied: tuple[nn.Module, Any, Any] = copy.deepcopy((model, args, kwargs), shared)
    except Exception as error:  # the model is the user's
        raise CannotCopyError from error
    return copied


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """The parameters and buffers themselves, by their names; one that has several names is there under each."""
    return {name: each for name, each in model.state_dict(keep_vars=True).items() if isinstance(each, Tensor)}


def put(tensor: Tensor, value: Tensor) -> None:
    """Let a parameter or buffer hold these numbers, in whatever memory they are; what that memory held stays."""
    tensor.data = value.detach().to(tensor.device, tensor.dtype).contiguous()
