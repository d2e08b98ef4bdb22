"""Callables that take the place of the user's hooks and captured forwards while recording, and note when they run."""

from __future__ import annotations

import operator
from collections.abc import Callable
from types import CodeType
from typing import Any

import torch
from torch import nn

from fwdtrace.recorder.entered import overridden_call
from fwdtrace.recorder.frames import frame_role
from fwdtrace.recorder.measures.values import same_numbers
from fwdtrace.recorder.notes import HookRun, OpenCall
from fwdtrace.recorder.session import Session, changing, running
from fwdtrace.recorder.torch_internals import (
    GLOBAL_ALWAYS_CALLED,
    GLOBAL_HOOKS,
    MODULE_HOOKS,
    always_called,
    has_legacy_backward_hooks,
    is_compiled,
)


class StandIn:
    """In place of `original`, looks and copies like it; a copy or a pickle made meanwhile is of the original."""

    def __init__(self, original: Callable[..., Any], run: Callable[..., Any]) -> None:
        self.original = original
        self.run = run

    @frame_role("stand-in")
    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # noqa: D102 (as the original)
        return self.run(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.original, name)

    @property  # type: ignore[misc]
    def __class__(self) -> type:  # isinstance(hook, WeightNorm) is how torch finds its own hooks again
        return type(self.original)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return operator.getitem, ((self.original,), 0)


def put_in_place(holder: dict[Any, Any] | list[Any], key: Any, stand_in: StandIn) -> None:
    """Put a stand-in where its original was, to be taken out by `take_out_all`."""
    with changing:
        session = running.session
        if session is not None:
            holder[key] = stand_in
            session.stand_ins.append((holder, key, stand_in))


def take_out_all(session: Session) -> None:
    """Put the originals back, last first, wherever our stand-in is still in place."""
    for holder, key, stand_in in reversed(session.stand_ins):
        for place in _places_of(stand_in, holder, key):
            holder[place] = stand_in.original


def _places_of(stand_in: StandIn, holder: dict[Any, Any] | list[Any], key: Any) -> list[Any]:
    if isinstance(holder, dict):
        return [key] if holder.get(key) is stand_in else []
    return [index for index, value in enumerate(holder) if value is stand_in]


def watch_hooks(module: nn.Module, call: OpenCall) -> dict[Any, HookRun]:
    """Every hook that this call will run or skip, each behind a stand-in that notes that it ran."""
    runs: dict[Any, HookRun] = {}
    for kind, hooks in _hook_tables(module):
        for key, hook in list(hooks.items()):
            if type(hook) is not StandIn:
                hook = StandIn(hook, _noting(hook, kind, key))
                put_in_place(hooks, key, hook)
            runs[key] = describe_hook(_exact_kind(kind, key, module), hook.original)
    if any("backward" in run.kind for run in runs.values()):
        awaiting = call.seen.calls_awaiting_backward = call.seen.calls_awaiting_backward or []
        awaiting.append(call)
    return runs


def list_hooks(module: nn.Module, *, with_own_forward: bool = False) -> dict[Any, HookRun]:
    """Everything that `__call__` would have run and a direct call does not; if asked, also a `forward` of its own."""
    runs: dict[Any, HookRun] = {
        key: describe_hook(_exact_kind(kind, key, module), getattr(hook, "original", hook))
        for kind, hooks in _hook_tables(module)
        for key, hook in hooks.items()
    }
    override = overridden_call(type(module))
    if override is not None:
        runs["call_override"] = describe_hook("call_override", override)
    if is_compiled(module):
        runs["compiled"] = HookRun("compiled", "Module.compile", None, None)
    own = module.__dict__.get("forward") if with_own_forward else None
    if own is not None:
        runs["instance_forward"] = describe_hook("instance_forward", getattr(own, "original", own))
    return runs


def describe_hook(kind: str, hook: Any) -> HookRun:
    """The hook's qualified name and where it was written; only the name of its class if it does not say."""
    try:
        return _described(kind, hook)
    except Exception:  # a stranger's object, which need not answer
        return HookRun(kind, f"{type(hook).__module__}.{type(hook).__qualname__}", None, None)


def _described(kind: str, hook: Any) -> HookRun:
    function = hook
    while hasattr(function, "func"):  # functools.partial
        function = function.func
    if not hasattr(function, "__qualname__"):
        function = type(function)
    function = getattr(function, "__wrapped__", function)
    name = f"{function.__module__}.{function.__qualname__}"
    code = getattr(function, "__code__", None) or getattr(vars(function).get("__call__"), "__code__", None)
    if not isinstance(code, CodeType):
        return HookRun(kind, name, None, None)
    return HookRun(kind, name, code.co_filename, code.co_firstlineno)


def _hook_tables(module: nn.Module) -> list[tuple[str, dict[int, Any]]]:
    tables = [*GLOBAL_HOOKS, *((kind, module.__dict__[attribute]) for kind, attribute in MODULE_HOOKS)]
    return [(kind, hooks) for kind, hooks in tables if hooks]


def _exact_kind(kind: str, key: int, module: nn.Module) -> str:
    if kind == "forward" and key in always_called(module):
        return "forward_always_call"
    if kind == "global_forward" and key in GLOBAL_ALWAYS_CALLED:
        return "global_forward_always_call"
    if kind == "full_backward" and has_legacy_backward_hooks(module):
        return "backward"
    return kind


def _noting(hook: Callable[..., Any], kind: str, key: int) -> Callable[..., Any]:
    @frame_role("hook")
    def noting(*args: Any, **kwargs: Any) -> Any:
        result = hook(*args, **kwargs)
        run = _run_of(kind, key, args[0]) if args else None
        if run is not None:
            run.fired = True
            run.replaced = run.replaced or _gives_other(kind, result, args, operator.is_)
            run.changed = run.changed or (run.replaced and _gives_other(kind, result, args, same_numbers))
        return result

    return noting


def _run_of(kind: str, key: int, module: Any) -> HookRun | None:
    """What to note of the hook: for the call that is running, or in backward for the latest call it has not run for."""
    session = running.session
    entry = session.seen.get(id(module)) if session is not None else None
    if session is None or entry is None:
        return None
    if "backward" in kind:
        calls = [call for call in entry.calls_awaiting_backward or () if call.hooks and key in call.hooks]
        return next((call.hooks[key] for call in reversed(calls) if call.hooks and not call.hooks[key].fired), None)
    stack = session.threads.stack
    call = stack[-1] if stack else None
    return call.hooks.get(key) if call is not None and call.seen is entry and call.hooks else None


def _gives_other(kind: str, result: Any, args: tuple[Any, ...], same: Callable[[Any, Any], bool]) -> bool:
    """Whether a hook's result is anything but what it was given: the output, the inputs, or the gradients.

    `same` says of two tensors whether they count as one.
    """
    if result is None:
        return False
    if "forward_pre" in kind and len(args) == 3:  # with_kwargs: the result is (args, kwargs), or torch refuses it
        return not _same(result, args[1:], same)
    if "forward_pre" not in kind and "backward" not in kind:
        return not _same(result, args[-1], same)
    return not _same(result if isinstance(result, tuple) else (result,), args[1], same)


def _same(value: Any, other: Any, same: Callable[[Any, Any], bool]) -> bool:
    """Whether two values are one object, or hold tensors that count as the same."""
    if value is other:
        return True
    if type(value) is not type(other):
        return False
    if isinstance(value, (tuple, list)):
        return len(value) == len(other) and all(_same(*pair, same) for pair in zip(value, other, strict=True))
    if isinstance(value, dict):
        return value.keys() == other.keys() and all(_same(value[key], other[key], same) for key in value)
    return isinstance(value, torch.Tensor) and same(value, other)
