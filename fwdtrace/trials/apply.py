"""Proposed changes made to a copy of a model, or to how it is called, and taken back."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from sys import _getframe
from types import FrameType, SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_unflatten

from fwdtrace.findings.forward_error.changes import (
    PACKING,
    Built,
    Called,
    Change,
    Converted,
    Operand,
    PassedTo,
    Shaped,
    Step,
    WithoutGrad,
)
from fwdtrace.recorder.code_exchange import Observer, exchange, take_back_names
from fwdtrace.recorder.measures.functions import name_of_op
from fwdtrace.recorder.session import changing
from fwdtrace.trace import Site

_OF_RECURRENT = ("input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout", "bidirectional")
MOST_ELEMENTS = 2**26
"""A layer with more elements is not built to try something, unless it is as large already."""
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_forward_hooks_with_kwargs", "_forward_pre_hooks_with_kwargs")


class CannotChange(Exception):
    """The change is none that can be made to this model."""


@contextmanager
def applied(model: nn.Module, changes: Iterable[Change]) -> Iterator[nn.Module]:
    """The model with these changes as long as the block runs; those of its arguments are made elsewhere.

    CannotChange if one of them cannot be made.
    """
    with ExitStack() as stack:
        for change in changes:
            if isinstance(change, Built):
                model = stack.enter_context(_built(model, change))
            elif isinstance(change, Shaped):
                stack.enter_context(_shaped(model, change))
            elif isinstance(change, Converted):
                stack.enter_context(_converted(_module(model, change.path), change.dtype))
            elif isinstance(change, PassedTo):
                stack.enter_context(_passed(_module(model, change.path), change))
            elif isinstance(change, Called) and change.op in PACKING:
                stack.enter_context(_packed(change))
            elif isinstance(change, (Operand, Called, WithoutGrad)):
                stack.enter_context(_AtLine(change))
        yield model


def after_steps(value: Any, steps: Iterable[Step]) -> Any:
    """A tensor after these steps."""
    for step in steps:
        if step.method == "part":
            value = _part(value, str(step.args[0]))
        elif step.method == "interpolate":
            value = F.interpolate(value, size=[int(size) for size in step.args])
        else:
            value = getattr(value, step.method)(*map(_argument, step.args))
    return value


def _part(value: Any, part: str) -> Any:
    """A field, as `.logits`, or an item, as `[0]` or `['x']`."""
    if part.startswith("."):
        return getattr(value, part[1:])
    key = part[1:-1]
    return value[int(key) if key.isdecimal() else key.strip("'")]


def dtype_named(name: str) -> torch.dtype:
    """The dtype of this name, `float32` or `torch.float32`."""
    dtype: torch.dtype = getattr(torch, name.removeprefix("torch."))
    return dtype


def _argument(value: int | str) -> Any:
    return dtype_named(value) if isinstance(value, str) else value


def _module(model: nn.Module, path: str) -> nn.Module:
    try:
        return model.get_submodule(path)
    except AttributeError:  # a module that is put in while forward runs
        raise CannotChange(path) from None


@contextmanager
def _built(model: nn.Module, change: Built) -> Iterator[nn.Module]:
    before = _module(model, change.path)
    after = _rebuilt(before, change.argument, change.value)
    places = [
        (parent, name) for parent in model.modules() for name, child in parent._modules.items() if child is before
    ]
    for parent, name in places:
        parent._modules[name] = after
    try:
        yield after if model is before else model
    finally:
        for parent, name in places:
            parent._modules[name] = before


def _rebuilt(module: nn.Module, argument: str, value: Any) -> nn.Module:
    """A module of the same class as torch's own layer would be built with another argument."""
    kind: Any = next((cls for cls in type(module).__mro__ if cls.__module__.startswith("torch.nn.")), nn.Module)
    if kind is nn.Module or (module._modules and not isinstance(module, nn.MultiheadAttention)):
        raise CannotChange(type(module).__name__)
    arguments = _arguments(kind, module) | {argument: value}
    own = next(iter(module._parameters.values()), None)
    if own is not None:
        arguments |= {"device": own.device, "dtype": own.dtype}
        if _elements(kind, arguments) > max(MOST_ELEMENTS, 2 * sum(each.numel() for each in module.parameters())):
            raise CannotChange(f"{argument}={value}")
    new: Any = kind.__new__(type(module))
    new.__dict__.update({name: part for name, part in module.__dict__.items() if not name.startswith("_")})
    try:
        kind.__init__(new, **arguments)
    except Exception:  # a subclass that has made something else of the layer, or arguments that do not fit each other
        raise CannotChange(type(module).__name__) from None
    for name in _HOOKS:
        new.__dict__[name] = module.__dict__[name]
    new.train(module.training)
    return new  # type: ignore[no-any-return]


def _elements(kind: Any, arguments: dict[str, Any]) -> int:
    """How many elements the parameters of such a layer have."""
    try:
        return sum(each.numel() for each in kind(**{**arguments, "device": "meta"}).parameters())
    except Exception:  # arguments that do not fit each other
        raise CannotChange(kind.__name__) from None


def _arguments(kind: Any, module: nn.Module) -> dict[str, Any]:
    """The arguments that torch's own layer was built with, as its attributes say them."""
    names = inspect.signature(kind.__init__).parameters
    wanted = _OF_RECURRENT if isinstance(module, nn.RNNBase) else tuple(names)
    found: dict[str, Any] = {}
    for name in wanted:
        if name in ("self", "device", "dtype") or name.startswith("_"):
            continue
        if name == "bias":
            found[name] = _has_bias(module)
        elif name == "add_bias_kv":
            found[name] = getattr(module, "bias_k", None) is not None
        elif hasattr(module, name):
            found[name] = getattr(module, name)
    return found


def _has_bias(module: nn.Module) -> bool:
    if isinstance(module, nn.MultiheadAttention):
        return module.in_proj_bias is not None
    bias = getattr(module, "bias", None)
    return bias if isinstance(bias, bool) else bias is not None


@contextmanager
def _shaped(model: nn.Module, change: Shaped) -> Iterator[None]:
    path, _, name = change.name.rpartition(".")
    owner = _module(model, path)
    before = owner._parameters.get(name)
    if before is None:
        raise CannotChange(change.name)
    owner._parameters[name] = nn.Parameter(torch.zeros(change.shape, dtype=before.dtype, device=before.device), False)
    try:
        yield
    finally:
        owner._parameters[name] = before


@contextmanager
def _converted(module: nn.Module, name: str) -> Iterator[None]:
    before = [(each, each.data) for each in (*module.parameters(), *module.buffers()) if each.is_floating_point()]
    for tensor, data in before:
        tensor.data = data.to(dtype_named(name))
    try:
        yield
    finally:
        for tensor, data in before:
            tensor.data = data


@contextmanager
def _passed(module: nn.Module, change: PassedTo) -> Iterator[None]:
    def pass_on(module: nn.Module, args: Any, kwargs: Any) -> Any:
        return _replaced(args, kwargs, change.tensor, change.steps)

    def turn_back(module: nn.Module, args: Any, output: Any) -> Any:
        return after_steps(output, change.back)

    handles = [module.register_forward_pre_hook(pass_on, with_kwargs=True)]
    if change.back:
        handles.append(module.register_forward_hook(turn_back))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _replaced(args: Any, kwargs: Any, number: int, steps: tuple[Step, ...]) -> tuple[Any, Any]:
    """The arguments with one of their tensors after some steps."""
    if steps[0].method == "part" and args:
        return (after_steps(args[0], steps), *args[1:]), kwargs
    leaves, form = tree_flatten((args, kwargs))
    places = [place for place, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
    if number < len(places):
        leaves[places[number]] = after_steps(leaves[places[number]], steps)
    changed: tuple[Any, Any] = tree_unflatten(leaves, form)
    return changed


class _AtLine(TorchFunctionMode):
    """Calls an op otherwise wherever a line of the model calls it."""

    def __init__(self, change: Operand | Called | WithoutGrad) -> None:
        super().__init__()
        self._change = change

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the function, otherwise if it is the op at the line."""
        kwargs = kwargs or {}
        change = self._change
        if self._is_meant(function):
            if isinstance(change, WithoutGrad):
                with torch.no_grad():
                    return function(*args, **kwargs)
            if isinstance(change, Operand):
                args, kwargs = _replaced(args, kwargs, change.tensor, change.steps)
            else:
                args, kwargs = _called(change, args, kwargs)
        return function(*args, **kwargs)

    def _is_meant(self, function: Callable[..., Any]) -> bool:
        frame = _at(self._change.site, _getframe(2))
        if frame is None:
            return False
        op: Any = SimpleNamespace(function=function, position=(frame.f_code, frame.f_lasti))
        return name_of_op(op.function, op.position) == self._change.op


def _called(change: Called, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if change.argument == "shape":
        assert isinstance(change.value, tuple)
        return (args[0], *(_size(args[0], each) for each in change.value)), {}
    if len(args) > change.place:
        return (*args[: change.place], change.value, *args[change.place + 1 :]), kwargs
    return args, {**kwargs, change.argument: change.value}


def _size(tensor: Any, size: int | str) -> int:
    """A size of a shape, written as a number or as `x.shape[1]`."""
    return size if isinstance(size, int) else int(tensor.shape[int(size.removeprefix("x.shape[").rstrip("]"))])


@contextmanager
def _packed(change: Called) -> Iterator[None]:
    """Packs otherwise wherever a line of the model has it done."""

    def pack(original: Any, padded: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if _at(change.site, _getframe(1)) is not None:
            args = (*args[: change.place - 1], change.value, *args[change.place :])
        return original(padded, *args, **kwargs)

    function: Any = pack_padded_sequence
    with changing:
        put_back = exchange(function, Observer(lambda padded: False, pack))
    try:
        yield
    finally:
        with changing:
            put_back()
            take_back_names()


def _at(site: Site, frame: FrameType | None) -> FrameType | None:
    """The frame that runs this line."""
    while frame is not None:
        if frame.f_lineno == site.line and frame.f_code.co_filename == site.file:
            return frame
        frame = frame.f_back
    return None
