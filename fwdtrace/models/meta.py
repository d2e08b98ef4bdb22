"""Models without weights: built on torch's meta device, and run there, or with fake tensors if they read values."""

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

    A constructor that reads values of its own tensors, as `torch.linspace(…).tolist()` does, is run once more with real
    tensors, and each parameter loses its data as soon as it is registered.
    """
    try:
        with META:
            return build()
    except Exception as error:  # torch raises several types for this
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
    """Give a module fake CPU tensors, which can do a little more than meta tensors, in place of its own.

    Yields a function that does the same for the tensors in a value, such as the arguments of a call. The module keeps
    its fake tensors afterwards: it was built to run without weights.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.fx.experimental.symbolic_shapes import ShapeEnv  # slow to import, and most models do without

    shapes = ShapeEnv(allow_scalar_outputs=True, allow_dynamic_output_shape_ops=True)
    mode = FakeTensorMode(allow_non_fake_inputs=True, shape_env=shapes)
    fakes: dict[int, Any] = {}
    with mode, _quiet(FakeTensorMode.__module__, ShapeEnv.__module__):
        for part in module.modules():
            for name, parameter in part._parameters.items():
                part._parameters[name] = _faked(parameter, fakes)
            for name, buffer in part._buffers.items():
                part._buffers[name] = _faked(buffer, fakes)
            for name, value in vars(part).items():
                part.__dict__[name] = _faked(value, fakes)
        yield lambda values: tree_map_only(Tensor, lambda tensor: _faked(tensor, fakes), values)


@contextmanager
def _quiet(*loggers: str) -> Iterator[None]:
    """Silence these loggers of torch, which log the errors that torch also raises."""
    before = {logger: logger.disabled for logger in map(logging.getLogger, loggers)}
    for logger in before:
        logger.disabled = True
    try:
        yield
    finally:
        for logger, was_disabled in before.items():
            logger.disabled = was_disabled


def _faked(tensor: Any, fakes: dict[int, Any]) -> Any:
    """The fake tensor for this one, always the same, so that what is shared stays shared."""
    if not isinstance(tensor, Tensor) or isinstance(tensor, nn.UninitializedParameter):
        return tensor
    if id(tensor) not in fakes:
        fake_tensor = without_values(tensor, torch.device("cpu"))
        if isinstance(tensor, nn.Parameter):
            fake_tensor = nn.Parameter(fake_tensor, tensor.requires_grad)
        fakes[id(tensor)] = fake_tensor, tensor  # keeps the tensor alive, so that no other one gets its id
    return fakes[id(tensor)][0]


def without_values(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the same form; a new one even of one that is fake, of which torch makes nothing but fake ones."""
    return torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype, device=device)


def _without_data(module: nn.Module, name: str, parameter: nn.Parameter | None) -> nn.Parameter | None:
    if parameter is None or parameter.is_meta or isinstance(parameter, nn.UninitializedParameter):
        return parameter  # a parameter that is registered twice stays one parameter
    return nn.Parameter(parameter.to(META), parameter.requires_grad)
