"""Independent copies of a model, one for each run of an experiment: built anew, or deep copies if nothing is lost."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from torch import nn

from fwdtrace.compare.direct.leaves import same_leaf
from fwdtrace.errors import FwdtraceError
from fwdtrace.models.randomness import random_state
from fwdtrace.trace.text import with_article

Build = Callable[[], nn.Module]

_REMEDY = "give a function that builds the model, as in compare_direct(build, x)"


@dataclass(frozen=True)
class Copies:
    """Where copies come from: `fresh()` gives one that shares nothing with another; `how` says what that is."""

    fresh: Build
    how: str


def copies_of(model: nn.Module | Build) -> Copies:
    """Copies of a module, or what a function builds; FwdtraceError if they would not be independent and equal."""
    return _deep_copies(model) if isinstance(model, nn.Module) else _rebuilt(model)


def _deep_copies(model: nn.Module) -> Copies:
    reason = next(_lost_in_copies(model), None)
    if reason is not None:
        raise FwdtraceError(f"{type(model).__name__} cannot be compared on deep copies: {reason}; {_REMEDY}")
    return Copies(lambda: copy.deepcopy(model), "a deep copy")


def _lost_in_copies(model: nn.Module) -> Iterator[str]:
    """The reasons why deep copies would not be independent, or not be what the model is."""
    for path, module in model.named_modules():
        name = path or "the model"
        if getattr(module, "_compiled_call_impl", None) is not None:
            yield f"{name} was compiled in place, which copying undoes"
        if isinstance(module.__dict__.get("forward"), FunctionType):
            yield f"{name} has a forward function of its own, which its copies would share"
        for hooks in (module._forward_pre_hooks, module._forward_hooks, module._backward_hooks):
            if any(_closes_over_module(hook) for hook in hooks.values()):
                yield f"a hook on {name} holds a module, which the copies would share"
    try:
        copy.deepcopy(model)
    except Exception as error:  # copying runs the model's own code, and torch refuses in many ways
        tensors = [f"{path}.{key}".lstrip(".") for path, key in _computed_tensors(model)]
        what = f"{tensors[0]} is computed from other tensors and " if tensors else ""
        yield f"{what}copy.deepcopy raised {type(error).__name__}: {str(error).splitlines()[0].rstrip('.')}"


def _closes_over_module(hook: Any) -> bool:
    cells = getattr(hook, "__closure__", None) or ()
    return any(isinstance(cell.cell_contents, nn.Module) for cell in cells)


def _computed_tensors(model: nn.Module) -> Iterator[tuple[str, str]]:
    for path, module in model.named_modules():
        for key, value in vars(module).items():
            if getattr(value, "grad_fn", None) is not None:
                yield path, key


def _rebuilt(build: Build) -> Copies:
    start = random_state()

    def fresh() -> nn.Module:
        start.restore()
        model = build()
        if not isinstance(model, nn.Module):
            raise FwdtraceError(
                f"the function returned {with_article(type(model).__name__)}, not an nn.Module; return the model"
            )
        return model

    first, second = fresh(), fresh()
    if first is second:
        return _deep_copies(first)
    state, again = first.state_dict(), second.state_dict()
    unequal = [key for key in state if key not in again or not _same(state[key], again[key])]
    if unequal or state.keys() != again.keys():
        what = unequal[0] if unequal else "the names of its state"
        raise FwdtraceError(f"the model differs from build to build, in {what}; seed what it draws when it is built")
    return Copies(fresh, "a model built anew")


def _same(one: Any, other: Any) -> bool:
    if type(one).__name__ == "UninitializedParameter" or type(one).__name__ == "UninitializedBuffer":
        return type(one) is type(other)
    return same_leaf(one, other)
