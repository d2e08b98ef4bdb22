"""The oracle: a second, independent account of a forward call, read off the interpreter's profile events.

Nothing is installed on the model. Every call of a Python function reaches the profile function of its thread; kept are
those that run `nn.Module.__call__`, an override of it, or the `forward` of their first argument's class.
"""

from __future__ import annotations

import dataclasses
import dis
import functools
import inspect
import linecache
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from types import CodeType, FrameType, FunctionType, MethodType
from typing import Any

import torch
from torch import nn

Leaf = tuple[str, tuple[int, ...], str]

WRAPPED_CALL = nn.Module._wrapped_call_impl.__code__
CALL_IMPL = nn.Module._call_impl.__code__
INNER = next((code for code in CALL_IMPL.co_consts if isinstance(code, CodeType) and code.co_name == "inner"), None)
# Generators and coroutines begin again at every step; as a `forward` they are seen through their `__call__` alone.
SUSPENDABLE = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
RETURNS = {dis.opmap[name] for name in ("RETURN_VALUE", "RETURN_CONST") if name in dis.opmap}


@dataclass(frozen=True)
class Seen:
    """One call as the interpreter ran it; `parent` is an index into the calls, a leaf is (name, shape, dtype)."""

    path: str | None
    class_name: str
    nth: int
    entry: str
    parent: int | None
    inputs: tuple[Leaf, ...]
    outputs: tuple[Leaf, ...]
    raised: bool


@dataclass
class Open:
    """A call that has begun: its first frame, and the `forward` functions of its module that are running in it."""

    index: int
    module: nn.Module
    entry: str
    frame: FrameType
    inputs: tuple[Leaf, ...]
    impl: FrameType | None = None
    reached: bool = False
    running: list[tuple[FrameType, FunctionType]] = field(default_factory=list)


class Oracle:
    """What the profile function of `observe` has seen so far; `calls` is complete once the block has ended."""

    def __init__(self, root: nn.Module) -> None:
        self.root = root
        self.calls: list[Seen] = []
        self._stacks: defaultdict[int, list[Open]] = defaultdict(list)
        self._paths: dict[int, str] = {}
        self._replaced: dict[int, list[tuple[FunctionType, nn.Module]]] = defaultdict(list)
        self._met: list[nn.Module] = []
        self._count: defaultdict[int, int] = defaultdict(int)
        self._home = self._stacks[threading.get_ident()]
        self._learn_paths()
        for module in root.modules():
            function = plain_function(vars(module).get("forward"))
            if function is not None:
                self._replaced[id(function.__code__)].append((function, module))

    def profile(self, frame: FrameType, event: str, argument: object) -> None:
        """Take in one event of one thread."""
        if event == "call":
            self._begin(frame)
        elif event == "return":
            self._end(frame, argument)

    def _begin(self, frame: FrameType) -> None:
        code = frame.f_code
        if code.co_flags & SUSPENDABLE:
            return
        if code is INNER:
            stack = self._stacks[threading.get_ident()]
            if stack and stack[-1].impl is frame.f_back:
                stack[-1].impl = frame
            return
        function, owner = self._forward_in(frame)
        if function is not None and owner is not None:
            self._enter_forward(frame, owner, function)
            return
        module = first_argument(frame)
        if not isinstance(module, nn.Module):
            return
        if code is WRAPPED_CALL or code is CALL_IMPL or method_run(frame, module, "__call__"):
            self._enter_call(frame, module)

    def _enter_call(self, frame: FrameType, module: nn.Module) -> None:
        stack = self._stacks[threading.get_ident()]
        code = frame.f_code
        top = stack[-1] if stack else None
        if top is None or top.module is not module or top.entry != "__call__" or top.reached or top.impl is not None:
            top = self._push(stack, frame, module, "__call__")
        if top is not None and code is CALL_IMPL:
            top.impl = frame

    def _enter_forward(self, frame: FrameType, module: nn.Module, function: FunctionType) -> None:
        stack = self._stacks[threading.get_ident()]
        top = stack[-1] if stack else None
        if top is None or top.module is not module or not continues(top, function):
            top = self._push(stack, frame, module, "forward")
        if top is None:
            return
        top.reached = True
        top.running.append((frame, function))

    def _push(self, stack: list[Open], frame: FrameType, module: nn.Module, entry: str) -> Open | None:
        path = self._path(module)
        if path is None and not stack and not self._home:
            return None
        self._count[id(module)] += 1
        self._met.append(module)
        caller = stack or self._home
        parent = caller[-1].index if caller else None
        name = type(module).__name__
        self.calls.append(Seen(path, name, self._count[id(module)], entry, parent, (), (), raised=True))
        stack.append(Open(len(self.calls) - 1, module, entry, frame, given_inputs(frame, module)))
        return stack[-1]

    def _end(self, frame: FrameType, result: object) -> None:
        stack = self._stacks[threading.get_ident()]
        if not stack:
            return
        top = stack[-1]
        if top.running and top.running[-1][0] is frame:
            top.running.pop()
        if top.impl is frame:
            top.impl = frame.f_back if frame.f_code is INNER else None
        if top.frame is not frame:
            return
        stack.pop()
        returned = frame.f_code.co_code[frame.f_lasti] in RETURNS
        outputs = tuple(flattened("", result)) if returned else ()
        self.calls[top.index] = dataclasses.replace(
            self.calls[top.index], inputs=top.inputs, outputs=outputs, raised=not returned
        )

    def _forward_in(self, frame: FrameType) -> tuple[FunctionType | None, nn.Module | None]:
        """The `forward` that this frame runs and its module, or two times None."""
        first = first_argument(frame)
        for function, module in self._replaced.get(id(frame.f_code), ()):
            if runs(frame, function) and (first is module or not isinstance(first, nn.Module)):
                return function, module
        if not isinstance(first, nn.Module):
            return None, None
        return method_run(frame, first, "forward"), first

    def _path(self, module: nn.Module) -> str | None:
        if id(module) not in self._paths:
            self._learn_paths()
        return self._paths.get(id(module))

    def _learn_paths(self) -> None:
        for path, module in self.root.named_modules():
            if id(module) not in self._paths:
                self._paths[id(module)] = path
                self._met.append(module)


@contextmanager
def observe(root: nn.Module) -> Iterator[Oracle]:
    """Watch every module call of this thread, and of threads started in the block, until the block ends."""
    oracle = Oracle(root)
    before, before_in_threads = sys.getprofile(), threading.getprofile()
    threading.setprofile(oracle.profile)
    sys.setprofile(oracle.profile)
    try:
        yield oracle
    finally:
        sys.setprofile(before)
        threading.setprofile(before_in_threads)


def continues(top: Open, function: FunctionType) -> bool:
    """Whether a `forward` of the innermost call's module belongs to that call: it is the first, or a base class's."""
    if top.reached:
        return bool(top.running) and all(running is not function for _, running in top.running)
    return top.impl is None or at_forward_call(top.impl)


def plain_function(forward: object) -> FunctionType | None:
    """The Python function that a `forward` set on an instance runs first; None for other callables."""
    while isinstance(forward, functools.partial):
        forward = forward.func
    if isinstance(forward, MethodType):
        forward = forward.__func__
    return forward if isinstance(forward, FunctionType) else None


def first_argument(frame: FrameType) -> object:
    """The first positional argument of a frame at its beginning, also when it was taken in by `*args`."""
    code = frame.f_code
    if code.co_argcount:
        return frame.f_locals.get(code.co_varnames[0])
    if not code.co_flags & inspect.CO_VARARGS:
        return None
    rest = frame.f_locals.get(code.co_varnames[code.co_kwonlyargcount])
    return rest[0] if isinstance(rest, tuple) and rest else None


def method_run(frame: FrameType, module: nn.Module, name: str) -> FunctionType | None:
    """The function called `name` in the classes of the module that this frame runs, if it runs one."""
    for owner in type(module).__mro__:
        function = vars(owner).get(name)
        if isinstance(function, FunctionType) and owner is not nn.Module and runs(frame, function):
            return function
    return None


def runs(frame: FrameType, function: FunctionType) -> bool:
    """Whether the frame runs this function: its code, and, as decorators share theirs, its closure too."""
    code = frame.f_code
    if code is not function.__code__:
        return False
    cells = zip(code.co_freevars, function.__closure__ or (), strict=True)
    return all(contents(cell) is frame.f_locals.get(name, EMPTY) for name, cell in cells)


EMPTY = object()


def contents(cell: Any) -> object:
    """What a closure's cell holds, or EMPTY before it is filled."""
    try:
        return cell.cell_contents
    except ValueError:
        return EMPTY


def at_forward_call(frame: FrameType) -> bool:
    """Whether torch's `_call_impl`, or its `inner`, stands at the line that calls `forward`, not at one for hooks."""
    return "forward_call(*args" in linecache.getline(frame.f_code.co_filename, frame.f_lineno)


def arguments(frame: FrameType, module: nn.Module) -> tuple[tuple[object, ...], dict[str, object]]:
    """The positional arguments a frame was entered with, but for the module itself, and the keyword arguments."""
    code, values = frame.f_code, frame.f_locals
    names = iter(code.co_varnames)
    given = [values[next(names)] for _ in range(code.co_argcount)]
    keywords = {name: values[name] for name in islice(names, code.co_kwonlyargcount)}
    if code.co_flags & inspect.CO_VARARGS:
        given.extend(values[next(names)])
    if code.co_flags & inspect.CO_VARKEYWORDS:
        keywords |= values[next(names)]
    return tuple(given[1:] if given and given[0] is module else given), keywords


def given_inputs(frame: FrameType, module: nn.Module) -> tuple[Leaf, ...]:
    """The tensors a frame was given for `forward`, in the order of its parameters and named by them."""
    args, kwargs = arguments(frame, module)
    try:
        signature = inspect.signature(forward_in(frame, module))
        given = signature.bind(module, *args, **kwargs).arguments
    except (AttributeError, TypeError, ValueError):  # a ScriptModule, arguments that do not fit, no Python signature
        return tuple(flattened("args", args)) + tuple(leaf for name in kwargs for leaf in flattened(name, kwargs[name]))
    named = dict(list(given.items())[1:])
    for name, parameter in signature.parameters.items():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            named |= named.pop(name, {})
        elif parameter.kind is inspect.Parameter.VAR_POSITIONAL and given.get(name, (None,))[0] is module:
            named = {name: given[name][1:]} | named
    return tuple(leaf for name, value in named.items() for leaf in flattened(name, value))


def forward_in(frame: FrameType, module: nn.Module) -> Callable[..., object]:
    """The `forward` that a frame runs, which may be that of a base class; that of the class if it is no forward."""
    forwards = [vars(cls)["forward"] for cls in type(module).__mro__ if "forward" in vars(cls)]
    found = [forward for forward in forwards if getattr(forward, "__code__", None) is frame.f_code]
    return found[0] if found else type(module).forward


def flattened(name: str, value: object) -> Iterator[Leaf]:
    """The tensors in nested containers as (name, shape, dtype), depth first."""
    for place, tensor in tensors_by_name(name, value):
        yield place, shape_of(tensor), str(tensor.dtype).removeprefix("torch.")


def tensors_by_name(name: str, value: object) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors in nested containers with their names, depth first."""
    if isinstance(value, torch.Tensor):
        yield name, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from tensors_by_name(f"{name}[{key}]" if isinstance(key, int) else f"{name}.{key}", item)
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        for key in value._fields:
            yield from tensors_by_name(f"{name}.{key}", getattr(value, key))
    elif isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            yield from tensors_by_name(f"{name}[{i}]", item)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for entry in dataclasses.fields(value):
            yield from tensors_by_name(f"{name}.{entry.name}", getattr(value, entry.name))
    elif hasattr(value, "__dict__") and not isinstance(value, (nn.Module, type, FunctionType, MethodType)):
        for key, item in vars(value).items():
            yield from tensors_by_name(f"{name}.{key}", item)


def shape_of(tensor: torch.Tensor) -> tuple[int, ...]:
    """The sizes of a tensor; -1 for a ragged dimension of a nested one."""
    if not tensor.is_nested:
        return tuple(tensor.shape)
    return tuple(ragged_size(tensor, dimension) for dimension in range(tensor.dim()))


def ragged_size(tensor: torch.Tensor, dimension: int) -> int:
    """One size of a nested tensor, -1 if its parts differ in it."""
    try:
        size = tensor.size(dimension)
    except RuntimeError:
        return -1
    return size if isinstance(size, int) else -1
