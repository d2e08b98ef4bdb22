"""Models without weights: built on torch's meta device, and run there or, where that lacks values, on fake tensors."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from traceback import extract_tb
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.utils._pytree import tree_map_only

META = torch.device("meta")
Built = TypeVar("Built")

_TORCH = os.path.join(os.path.dirname(torch.__file__), "")
_OURS = os.path.join(os.path.dirname(os.path.dirname(__file__)), "")
_NEEDS_VALUES = (
    "cannot be called on meta tensors",
    "Cannot copy out of meta tensor",
    "'Meta' backend",
    "data-dependent",
    "register_meta function",
    "concrete integers",
    "fake tensor",
    "FakeTensor",
)
_FAKE_ERRORS = ("DataDependentOutputException", "DynamicOutputShapeException", "GuardOnDataDependentSymNode")


def built_on_meta(build: Callable[[], Built]) -> Built:
    """Build a model whose tensors have no data.

    A constructor that reads values of tensors it makes itself, as `torch.linspace(…).tolist()`, is run once more with
    real tensors, each parameter of which gives up its data as soon as it is registered.
    """
    try:
        with META:
            return build()
    except Exception as error:  # torch has no one kind for it
        if not needs_values(error):
            raise
    hook = register_module_parameter_registration_hook(_without_data)  # type: ignore[arg-type]
    try:
        return build()
    finally:
        hook.remove()


def needs_values(error: BaseException | None) -> bool:
    """Whether torch raised because a tensor has no values, not because the model is wrong."""
    while error is not None:
        text = str(error)
        if type(error).__name__.startswith(_FAKE_ERRORS) or any(part in text for part in _NEEDS_VALUES):
            return True
        error = error.__cause__
    return False


def where_values_are_needed(error: BaseException) -> str:
    """The line outside torch that asked for values, as `file.py:12 (if x.sum() > 0:)`."""
    frames = [frame for frame in extract_tb(error.__traceback__) if not frame.filename.startswith((_TORCH, _OURS))]
    if not frames:
        return "a line inside torch"
    return f"{frames[-1].filename}:{frames[-1].lineno} ({frames[-1].line})"


@contextmanager
def fake(module: nn.Module) -> Iterator[Callable[[Any], Any]]:
    """Give a module fake tensors of the CPU, which know a little more than meta ones; a function that makes others so.

    The module keeps them: it was built to be run without weights.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.fx.experimental.symbolic_shapes import ShapeEnv  # slow to import, and most models do without

    shapes = ShapeEnv(allow_scalar_outputs=True, allow_dynamic_output_shape_ops=True)
    mode = FakeTensorMode(allow_non_fake_inputs=True, shape_env=shapes)
    known: dict[int, Any] = {}
    with mode, _quiet(FakeTensorMode.__module__, ShapeEnv.__module__):
        for each in module.modules():
            for name, parameter in each._parameters.items():
                each._parameters[name] = _faked(parameter, known)
            for name, buffer in each._buffers.items():
                each._buffers[name] = _faked(buffer, known)
        yield lambda values: tree_map_only(Tensor, lambda tensor: _faked(tensor, known), values)


@contextmanager
def _quiet(*loggers: str) -> Iterator[None]:
    """Keep torch from logging, with its own stack, what it raises as well."""
    found = [logging.getLogger(name) for name in loggers]
    before = [logger.disabled for logger in found]
    for logger in found:
        logger.disabled = True
    try:
        yield
    finally:
        for logger, was in zip(found, before, strict=True):
            logger.disabled = was


def _faked(tensor: Any, known: dict[int, Any]) -> Any:
    if not isinstance(tensor, Tensor) or isinstance(tensor, nn.UninitializedParameter):
        return tensor
    if id(tensor) not in known:
        made = torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype, device="cpu")
        if isinstance(tensor, nn.Parameter):
            made = nn.Parameter(made, tensor.requires_grad)
        known[id(tensor)] = made, tensor  # the tensor too: while it lives, its id is no other's
    return known[id(tensor)][0]


def _without_data(module: nn.Module, name: str, parameter: nn.Parameter | None) -> nn.Parameter | None:
    if parameter is None or parameter.is_meta or isinstance(parameter, nn.UninitializedParameter):
        return parameter  # a shared one stays shared
    return nn.Parameter(parameter.to(META), parameter.requires_grad)
