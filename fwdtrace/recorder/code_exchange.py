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
import textwrap
import threading
from collections.abc import Callable
from types import CodeType, FrameType, FunctionType
from typing import Any

from torch.compiler import is_dynamo_compiling

from fwdtrace.errors import SKIPPED_BY_WARNINGS
from fwdtrace.recorder.frames import declare_observed, forget_observed

_PREFIX = "_fwdtrace_"
_COMPILING = "_fwdtrace_is_compiling"
_ORIGINAL = "_fwdtrace_original"
_CONSTANTS = "_fwdtrace_constants"
_VARIADIC, _KEYWORDS = inspect.CO_VARARGS, inspect.CO_VARKEYWORDS

# Of this, torch.compile runs the first two lines alone: it takes no constants but literals, so they look up names. All
# else that the body needs is in one constant, and nothing of ours is in the tables of the program.
_TEMPLATE = """
def outer(@free):
    def forward(@parameters):
        if $is_compiling():
            return $original(@passed_on)
        @locals = "$constants"
@body
        @use_free
"""


class Observer:
    """What runs in place of a function: `body`, in which `$NAME` is a local or one of `constants`.

    `$run` is the function as it was, and `@passed_on` its arguments as they are given on; `@module` is the first of
    them, and `@args` and `@kwargs` are the rest.
    """

    __slots__ = ("body", "constants")

    def __init__(self, body: str, **constants: Any) -> None:
        self.body = textwrap.indent(textwrap.dedent(body).strip("\n"), " " * 8)
        self.constants = constants


class _Layer:
    """One exchange: the code that was found in the function, the code put there, and a function that runs the first."""

    __slots__ = ("code", "found", "key", "original", "wrapped")

    def __init__(self, found: CodeType, code: CodeType, key: str, original: FunctionType, wrapped: Any) -> None:
        self.found = found
        self.code = code
        self.key = key
        self.original = original
        self.wrapped = wrapped


_layers: dict[int, list[_Layer]] = {}
"""The exchanges of each function by its id, the latest last; the functions are alive as long as they are here."""
_names: set[str] = set()
"""What we have put into `builtins`."""
_NOTHING = object()


def exchange(function: FunctionType, observer: Observer) -> Callable[[], None]:
    """Have the function run the observer's code; what this returns puts its own code back, in whatever order."""
    found = function.__code__
    original = _copy_of(function)
    layers = _layers.setdefault(id(function), [])
    key = f"{_ORIGINAL}_{id(original)}"
    code = _code_of(observer, found, key, original)
    layer = _Layer(found, code, key, original, function.__dict__.get("__wrapped__", _NOTHING))
    layers.append(layer)
    for name, value in ((_COMPILING, is_dynamo_compiling), (key, original)):
        setattr(builtins, name, value)
        _names.add(name)
    declare_observed(code, original)
    function.__code__ = code
    function.__dict__["__wrapped__"] = original  # where the source is looked for

    def put_back() -> None:
        above = layers[layers.index(layer) + 1 :]
        if above:
            above[0].found, above[0].wrapped = layer.found, layer.wrapped
            above[0].original.__code__ = layer.found
            _set_wrapped(above[0].original, layer.wrapped)
        elif function.__code__ is code:
            function.__code__ = layer.found
            _set_wrapped(function, layer.wrapped)
        layers.remove(layer)
        if not layers:
            _layers.pop(id(function), None)
        forget_observed(code)
        _names.discard(key)
        builtins.__dict__.pop(key, None)

    return put_back


def take_back_names() -> None:
    """Leave nothing in `builtins` once no code of ours is in a function or about to run in another thread."""
    if _layers or _is_running_elsewhere():
        return
    while _names:
        builtins.__dict__.pop(_names.pop(), None)


def _is_running_elsewhere() -> bool:
    others = sys._current_frames()
    del others[threading.get_ident()]  # a frame that knew itself would be kept until garbage is collected
    for top in others.values():
        frame: FrameType | None = top
        while frame is not None:
            if _COMPILING in frame.f_code.co_names:
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


def _code_of(observer: Observer, like: CodeType, key: str, original: FunctionType) -> CodeType:
    """The observer's code with the parameters, the free variables and the names of the code that it stands for."""
    parameters = _parameters(like)
    template = _compiled(observer.body, tuple(observer.constants), parameters, like.co_freevars)
    count = _count(like)
    ours, theirs = template.co_varnames[count:], like.co_varnames[count:]
    names = (*like.co_varnames[:count], *theirs, *ours[len(theirs) :])
    constants = (*observer.constants.values(), original)
    more = {"co_qualname": like.co_qualname} if sys.version_info >= (3, 11) else {}
    return template.replace(
        co_name=like.co_name,
        co_varnames=names,
        co_nlocals=len(names),
        co_names=tuple(key if name == _ORIGINAL else name for name in template.co_names),
        co_consts=tuple(constants if constant == _CONSTANTS else constant for constant in template.co_consts),
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
def _compiled(
    body: str, constants: tuple[str, ...], parameters: tuple[tuple[str, str], ...], free: tuple[str, ...]
) -> CodeType:
    texts = dict(
        parameters,
        free=", ".join(free),
        use_free=f"if 0: {', '.join(free)}" if free else "",
        locals="".join(f"{_PREFIX}{name}, " for name in (*constants, "run")),
    )
    template = _TEMPLATE.replace("@body", body).replace("$", _PREFIX)
    text = re.sub(r"@(\w+)", lambda match: texts[match[1]], template)
    return _code_in(_code_in(compile(text, SKIPPED_BY_WARNINGS, "exec")))


def _code_in(code: CodeType) -> CodeType:
    return next(constant for constant in code.co_consts if isinstance(constant, CodeType))
