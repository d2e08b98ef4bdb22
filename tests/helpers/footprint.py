"""What a tracer could leave behind: pictures of the interpreter, of torch and of a model, before and after."""

from __future__ import annotations

import builtins
import gc
import operator
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType
from typing import Any

import torch
import torch.utils.checkpoint
from torch import nn
from torch.nn.modules import module as torch_module
from torch.overrides import _get_current_function_mode_stack
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

import fwdtrace.recorder

METHODS = (
    *("forward", "__call__", "_call_impl", "_wrapped_call_impl", "_slow_forward", "__init__", "__new__"),
    *("__setattr__", "__getattr__", "__delattr__", "__getstate__", "__setstate__", "__reduce_ex__", "__deepcopy__"),
)
NAMESPACES = (builtins, torch, torch.nn.functional, torch.Tensor, torch.autograd, torch.jit, torch.utils.checkpoint)
OWN_CODE = str(Path(fwdtrace.recorder.__file__).parent)
DYNAMOS_CODE = tuple(str(Path(torch.__file__).parent / place) for place in ("_dynamo", "_compile.py"))
MISSING = object()


@dataclass(frozen=True)
class Picture:
    """The state of the process: single facts, and what the names of module classes and torch's namespaces stand for."""

    facts: dict[str, object]
    names: dict[object, dict[str, object]]


@contextmanager
def collecting_no_garbage() -> Iterator[None]:
    """What is freed in the block is freed because no reference is left, and not by the collector."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def of_the_process(earlier: Picture | None = None) -> Picture:
    """Everything process-wide that a tracer may patch, install or switch.

    Of what is as in an earlier picture nothing is copied: there may be thousands of classes, and thousands of tests.
    """
    known = {} if earlier is None else earlier.names
    names = {owner: _names_of(owner, known.get(owner)) for owner in (*NAMESPACES, *module_classes())}
    return Picture(dict([*interpreter(), *torch_state()]), names)


def _names_of(owner: object, known: dict[str, object] | None) -> dict[str, object]:
    now = vars(owner)
    if known is not None and len(known) == len(now) and all(map(operator.is_, known.values(), now.values())):
        return known
    return dict(now)


def interpreter() -> Iterator[tuple[str, object]]:
    """Profile and trace functions, limits, handlers, collector."""
    yield "sys.getprofile", sys.getprofile()
    yield "sys.gettrace", sys.gettrace()
    yield "threading.getprofile", threading.getprofile()
    yield "threading.gettrace", threading.gettrace()
    yield "sys.getrecursionlimit", sys.getrecursionlimit()
    yield "sys.excepthook", sys.excepthook
    yield "sys.displayhook", sys.displayhook
    yield "threading.Thread.run", threading.Thread.run
    yield "signal.SIGINT", signal.getsignal(signal.SIGINT)
    yield "gc.isenabled", gc.isenabled()
    yield "gc.callbacks", tuple(gc.callbacks)


def torch_state() -> Iterator[tuple[str, object]]:
    """Global module hooks, modes, grad mode."""
    for name, value in vars(torch_module).items():
        if name.startswith("_global_"):
            yield name, value
            yield f"{name} contents", tuple(value.items()) if isinstance(value, dict) else value
    yield "torch function modes", tuple(map(id, _get_current_function_mode_stack()))
    yield "torch dispatch modes", tuple(map(id, _get_current_dispatch_mode_stack()))
    yield "grad mode", torch.is_grad_enabled()
    yield "tracing state", torch._C._get_tracing_state()
    compiler = sys.modules.get("torch._dynamo.eval_frame")
    if compiler is not None:
        yield "compiler stance", vars(compiler).get("_stance")


def module_classes() -> set[type[nn.Module]]:
    """`nn.Module` and every class that descends from it."""
    classes: set[type[nn.Module]] = set()
    waiting: list[type[nn.Module]] = [nn.Module]
    while waiting:
        owner = waiting.pop()
        if owner not in classes:
            classes.add(owner)
            waiting.extend(type.__subclasses__(owner))
    return classes


def changes(before: Picture, after: Picture) -> list[str]:
    """The names of what differs; something new is not a change, unless it is code of the recorder."""
    changed = {name for name, fact in before.facts.items() if differs(fact, after.facts.get(name, fact))}
    for owner, now in after.names.items():
        was = before.names.get(owner, {})
        if was is now:
            continue
        replaced = {name for name in watched(owner, was) if differs(was.get(name, MISSING), now.get(name, MISSING))}
        ours = {name for name, value in now.items() if is_recorder_code(value)}
        changed |= {describe(owner, name) for name in replaced | ours}
    return sorted(changed)


def watched(owner: object, was: dict[str, object]) -> Iterable[str]:
    """The names whose values must stay: methods of a module class that was there before, functions of a namespace."""
    if owner is torch.Tensor:
        return [*was, *vars(torch._C.TensorBase)]
    if owner in NAMESPACES:
        return [name for name, value in was.items() if callable(value)]
    return METHODS if was else ()


def differs(before: object, after: object) -> bool:
    """Whether a value was exchanged: identity for objects, equality for plain data."""
    if before is after or is_dynamos(after):
        return False
    return not (isinstance(before, (int, tuple, str)) and before == after)


def is_recorder_code(value: object) -> bool:
    """Whether this is a function written in the recorder."""
    return isinstance(value, FunctionType) and value.__code__.co_filename.startswith(OWN_CODE)


def is_dynamos(value: object) -> bool:
    """Whether torch's compiler put this function there, as it does for good when it is first used."""
    return isinstance(value, FunctionType) and value.__code__.co_filename.startswith(DYNAMOS_CODE)


def describe(owner: object, name: str) -> str:
    """A name and whose it is."""
    return f"{getattr(owner, '__qualname__', getattr(owner, '__name__', owner))}.{name}"


def of_a_model(model: nn.Module) -> dict[str, tuple[Any, ...]]:
    """What is attached to each module: class, names of attributes, hooks, and a `forward` of its own."""
    return {path: of_a_module(module) for path, module in model.named_modules(remove_duplicate=False)}


def of_a_module(module: nn.Module) -> tuple[Any, ...]:
    """Class, attribute names, the number of each kind of hook, the code of a `forward` of its own."""
    attributes = vars(module)
    hooks = tuple((name, len(value)) for name, value in attributes.items() if name.endswith("hooks") and value)
    own = getattr(attributes.get("forward"), "__qualname__", "forward" in attributes)
    return type(module).__qualname__, tuple(sorted(attributes)), hooks, own
