"""Observes a function by running other code in it, so that everybody who holds the function, anywhere, is observed.

The function stays the same object, with its name, parameters, defaults and closure. A bound method kept in a tuple, a
closure, a patch of the class that is undone later: none of them can get around it, and none of them keeps it alive.
"""

from __future__ import annotations

import builtins
import functools
import inspect
import re
import sys
import threading
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from types import CodeType, FrameType, FunctionType
from typing import Any

from torch.compiler import is_dynamo_compiling

from fwdtrace.errors import SKIPPED_BY_WARNINGS
from fwdtrace.recorder.frames import declare_observed, forget_observed

_PREFIX = "_fwdtrace_"
_VARIADIC, _KEYWORDS = inspect.CO_VARARGS, inspect.CO_VARKEYWORDS
_RESUMED = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR

# It has no locals and no constants but literals, so that it can have those of any function, and torch.compile, which
# runs the first two lines alone, can take it. The names that it looks up are in `builtins` while it is in place.
_TEMPLATE = """
def outer(@free):
    def forward(@parameters):
        if @is_compiling():
            return @original(@passed_on)
        if @lets_run(@module):
            return @original(@passed_on)
        with @around:
            return @runs(@original, @module, @args, @kwargs)
        @use_free
"""


_NO_BLOCK = nullcontext()


@dataclass(frozen=True, eq=False)
class Observer:
    """What happens when an observed function is called with `module` as its first argument.

    `lets_run(module)` is asked first, in a frame of its own; if it says yes, the function runs as it was. If not, the
    result is that of `runs(original, module, args, kwargs)`, where `original` is the function as it was, and its
    arguments are given with their defaults. It runs in a block of `around`.
    """

    lets_run: Callable[[Any], bool]
    runs: Callable[[Any, Any, tuple[Any, ...], dict[str, Any]], Any]
    around: AbstractContextManager[None] = _NO_BLOCK


class _Layer:
    """One exchange: the code that was found in the function, the code put there, and a function that runs the first."""

    __slots__ = ("code", "found", "original", "wrapped")

    def __init__(self, found: CodeType, code: CodeType, original: FunctionType, wrapped: Any) -> None:
        self.found = found
        self.code = code
        self.original = original
        self.wrapped = wrapped


_layers: dict[int, list[_Layer]] = {}
"""The exchanges of each function by its id, the latest last; the functions are alive as long as they are here."""
_unused: set[str] = set()
"""Names that we have put into `builtins`, and that no function looks up any more."""
_NOTHING = object()


def exchange(function: FunctionType, observer: Observer) -> Callable[[], None]:
    """Have the function run the observer's code; what this returns puts its own code back, in whatever order."""
    found = function.__code__
    original = _copy_of(function)
    layers = _layers.setdefault(id(function), [])
    names = {
        "is_compiling": is_dynamo_compiling,
        "original": original,
        "lets_run": observer.lets_run,
        "runs": observer.runs,
        "around": observer.around,
    }
    own_names = {name: f"{_PREFIX}{name}_{id(value)}" for name, value in names.items()}
    code = _code_of(found, own_names)
    layer = _Layer(found, code, original, function.__dict__.get("__wrapped__", _NOTHING))
    layers.append(layer)
    for name, value in names.items():
        setattr(builtins, own_names[name], value)
        _unused.discard(own_names[name])
    declare_observed(code, original)
    _have_run(function, code)
    function.__dict__["__wrapped__"] = original  # where the source is looked for

    def put_back() -> None:
        above = layers[layers.index(layer) + 1 :]
        if above:
            above[0].found, above[0].wrapped = layer.found, layer.wrapped
            _have_run(above[0].original, layer.found)
            _set_wrapped(above[0].original, layer.wrapped)
        elif function.__code__ is code:
            _have_run(function, layer.found)
            _set_wrapped(function, layer.wrapped)
        layers.remove(layer)
        if not layers:
            _layers.pop(id(function), None)
        forget_observed(code)
        _unused.add(own_names["original"])
        if not _layers:
            _unused.update(name for name in vars(builtins) if name.startswith(_PREFIX))

    return put_back


def _have_run(function: FunctionType, code: CodeType) -> None:
    """Have the function run this code. From Python 3.13 on that warns where only one of both makes a generator."""
    if not (function.__code__.co_flags ^ code.co_flags) & _RESUMED:
        function.__code__ = code
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        function.__code__ = code


def take_back_names() -> None:
    """Leave in `builtins` only what is looked up; nothing yet if our code is about to run on in another thread."""
    if not _is_running_elsewhere():
        while _unused:
            vars(builtins).pop(_unused.pop(), None)


def _is_running_elsewhere() -> bool:
    others = sys._current_frames()
    del others[threading.get_ident()]  # a frame that knew itself would be kept until garbage is collected
    for top in others.values():
        frame: FrameType | None = top
        while frame is not None:
            if any(name in _unused for name in frame.f_code.co_names):
                return True
            frame = frame.f_back
    return False


def _set_wrapped(function: FunctionType, wrapped: Any) -> None:
    if wrapped is _NOTHING:
        function.__dict__.pop("__wrapped__", None)
    else:
        function.__dict__["__wrapped__"] = wrapped


def _copy_of(function: FunctionType) -> FunctionType:
    copy = FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    wrapped = function.__dict__.get("__wrapped__", _NOTHING)
    functools.update_wrapper(copy, function)
    _set_wrapped(copy, wrapped)
    return copy


def _code_of(like: CodeType, names: dict[str, str]) -> CodeType:
    """Our code with the parameters, the variables and the names of the code that it stands for."""
    template = _compiled(_parameters(like), like.co_freevars)
    more = {"co_qualname": like.co_qualname} if sys.version_info >= (3, 11) else {}
    return template.replace(
        co_name=like.co_name,
        co_varnames=like.co_varnames,
        co_nlocals=like.co_nlocals,
        co_names=tuple(names[name] for name in template.co_names),
        **more,  # type: ignore[arg-type]
    )


def _count(code: CodeType) -> int:
    return code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & _VARIADIC) + bool(code.co_flags & _KEYWORDS)


def _parameters(code: CodeType) -> tuple[tuple[str, str], ...]:
    """The texts that stand for the function's parameters in the template and in the body, by their names there."""
    names = list(code.co_varnames[: _count(code)])
    positional, keyword = names[: code.co_argcount], names[code.co_argcount :][: code.co_kwonlyargcount]
    variadic = names[code.co_argcount + code.co_kwonlyargcount :]
    args = [f"*{variadic.pop(0)}"] if code.co_flags & _VARIADIC else []
    kwargs = [f"**{variadic.pop(0)}"] if code.co_flags & _KEYWORDS else []
    declared = [*positional, *(args or (["*"] if keyword else [])), *keyword, *kwargs]
    if code.co_posonlyargcount:
        declared.insert(code.co_posonlyargcount, "/")
    module, rest = ("None", [])
    if positional:
        module, rest = positional[0], [*positional[1:], *args]
    elif args:
        module, rest = f"({args[0][1:]} or (None,))[0]", [f"{args[0]}[1:]"]
    items = [*(f"{name!r}: {name}" for name in keyword), *kwargs]
    return (
        ("parameters", ", ".join(declared)),
        ("passed_on", ", ".join([*positional, *args, *(f"{name}={name}" for name in keyword), *kwargs])),
        ("module", module),
        ("args", f"({''.join(f'{value}, ' for value in rest)})"),
        ("kwargs", f"{{{', '.join(items)}}}"),
    )


@functools.lru_cache(maxsize=256)
def _compiled(parameters: tuple[tuple[str, str], ...], free: tuple[str, ...]) -> CodeType:
    texts = dict(parameters, free=", ".join(free), use_free=", ".join(free))
    text = re.sub(r"@(\w+)", lambda match: texts.get(match[1], match[1]), _TEMPLATE)
    return _code_in(_code_in(compile(text, SKIPPED_BY_WARNINGS, "exec")))


def _code_in(code: CodeType) -> CodeType:
    return next(constant for constant in code.co_consts if isinstance(constant, CodeType))
