"""The two ways into a copy of a model: `model(x)`, and a module of it run as `.forward(x)`."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any

from torch import nn

Enter = Callable[[nn.Module], Callable[..., Any]]
"""Prepares a copy of the model and returns what to call in place of it."""

WRAPPERS = ("DistributedDataParallel", "FullyShardedDataParallel", "DataParallel")
"""Classes that hold the model in `module`: people run that one directly from outside, in the wrapper's place."""


def enter_by_call(model: nn.Module) -> Callable[..., Any]:
    """Enter as `model(x)`."""
    return model


def enter_directly(target: str) -> Enter:
    """Enter so that the module at this path runs as `.forward(x)`, and all others as usual."""

    def enter(model: nn.Module) -> Callable[..., Any]:
        if not target:
            forward: Callable[..., Any] = model.forward
            return forward
        if target == "module" and type(model).__name__ in WRAPPERS:
            forward = model.get_submodule(target).forward
            return forward
        above = [
            module for path, module in model.named_modules() if f"{target}.".startswith(f"{path}." if path else "")
        ]
        call = _run_forward if any(map(_is_compiled, above)) else property(attrgetter("forward"))
        _replace_call(model.get_submodule(target), call)
        return model

    return enter


def _replace_call(module: nn.Module, call: Any) -> None:
    """Give the module a class of its own, in which `__call__` is another; `isinstance` and `super()` are as before."""
    cls = type(module)
    metaclass: Any = type(cls)
    names = {"__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__}
    module.__class__ = metaclass(cls.__name__, (cls,), {**names, "__call__": call})


def _run_forward(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
    """What a property does without a frame of its own; the compiler understands only this."""
    return module.forward(*args, **kwargs)


def _is_compiled(module: nn.Module) -> bool:
    return module.__dict__.get("_compiled_call_impl") is not None or type(module).__name__ == "OptimizedModule"
