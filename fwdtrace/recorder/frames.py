"""Who called: the user's line behind a call, the functions from `__call__` to `forward`."""

from __future__ import annotations

import inspect
import linecache
import os
import sys
from bisect import bisect_right
from collections.abc import Callable
from types import CodeType, FrameType, FunctionType, TracebackType
from typing import Any, Literal, TypeVar

from fwdtrace.errors import SKIPPED_BY_WARNINGS
from fwdtrace.recorder.torch_internals import (
    CALL_CODE,
    GENERATED,
    INNER_CODE,
    NAMES_OF_CODES,
    SLOW_FORWARD_CODE,
    TORCH_FOLDER,
)
from fwdtrace.trace import CallError, Site

Position = tuple[CodeType, int]
"""A code object and the offset of the instruction in it: cheap to take while the model runs, a line later.

Those in a call are the same object each time, so that a million calls from one line have one.
"""

NOWHERE: Position = (compile("", "<nowhere>", "exec"), 0)
"""In place of a position where there is no line of the user's to show."""

STANDARD_LIBRARY = os.path.dirname(os.__file__) + os.sep

Role = Literal["call", "boundary", "forward", "stand-in", "hook"]
F = TypeVar("F", bound=Callable[..., Any])

# What is known of code objects outlives recordings: it never changes. It is kept by id, because hashing a code object
# takes microseconds; our own code lives as long as its module, and other code as long as these tables do.
_roles: dict[int, Role] = {}
IDS_OF_CALLS = frozenset(map(id, (CALL_CODE, INNER_CODE, SLOW_FORWARD_CODE)))
_chains: dict[tuple[int, ...], tuple[CodeType, ...]] = {(): ()}
_is_torch: dict[int, bool] = {}
_renamed: dict[int, CodeType] = {}
_originals: dict[int, FunctionType] = {}
_kept: list[CodeType] = []
_OF_CALLS = frozenset(("call", "boundary", "forward"))
_RESUMED = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR


class _Positions(dict[int, Position]):
    """The positions in a code object that is not torch's, by instruction; `library` is the package that it is from."""

    __slots__ = ("library",)

    def __init__(self, library: str) -> None:
        self.library = sys.intern(library)


_positions: dict[int, _Positions] = {}
_NO_POSITIONS = _Positions("")


def frame_role(role: Role) -> Callable[[F], F]:
    """Declare the frames of a function ours: it runs calls, wraps a forward, or stands in for a callable or a hook.

    Their file gets the name that `warnings` skips.
    """

    def declare(function: F) -> F:
        ours: Any = function
        code = ours.__code__
        if id(code) not in _renamed:  # the same one again for a function that is made each time in another
            _kept.append(code)
            _renamed[id(code)] = code.replace(co_filename=SKIPPED_BY_WARNINGS)
        ours.__code__ = _renamed[id(code)]
        _roles[id(ours.__code__)] = role
        return function

    return declare


def declare_observed(code: CodeType, original: FunctionType) -> None:
    """Declare a code object ours that runs in place of a forward's own; `original` runs that."""
    _roles[id(code)] = "forward"
    _originals[id(code)] = original


def forget_observed(code: CodeType) -> None:
    """The code object is in no function any more."""
    _roles.pop(id(code), None)
    _originals.pop(id(code), None)


def original_of(function: Any) -> Any:
    """What runs a function's own code while ours is in it; the function itself if none of ours is."""
    return _originals.get(id(getattr(function, "__code__", None)), function)


def from_torch(code: CodeType) -> bool:
    """Whether the code object comes from torch, the standard library or us: no user would look for a line there."""
    known = _is_torch.get(id(code))
    if known is None:
        file = code.co_filename
        known = file.startswith((TORCH_FOLDER, "<frozen", GENERATED, SKIPPED_BY_WARNINGS)) or (
            file.startswith(STANDARD_LIBRARY) and "site-packages" not in file
        )
        _kept.append(code)
        _is_torch[id(code)] = known
    return known


def library_of(code: CodeType) -> str:
    """The installed package that a code object is from; "" if it is from none."""
    known = _positions.get(id(code))
    if known is None:
        _, installed, rest = code.co_filename.replace(os.sep, "/").rpartition("-packages/")
        return rest.partition("/")[0].removesuffix(".py") if installed else ""
    return known.library


def position_outside_torch(frame: FrameType, inherited: Position, innermost: CodeType | None = None) -> Position:
    """The nearest position in the model's own code, else the nearest outside torch.

    The model's own is what is in no installed package, or in that of the forward that runs. `inherited` if one of our
    wrappers comes first, as below `nn.Sequential`. `innermost` is `code_that_ends_search` of the innermost open call's
    forward, in which most calls and ops are.
    """
    code = frame.f_code
    positions = _positions.get(id(code))
    if positions is not None:
        if code is innermost or not positions.library:
            return positions.get(frame.f_lasti) or _position_at(frame, positions)
        step = frame.f_back
        while step is not None:  # out through functions of the same package to the forward that calls them
            above = _positions.get(id(step.f_code))
            if above is None or above.library != positions.library:
                break
            if step.f_code is innermost:
                return positions.get(frame.f_lasti) or _position_at(frame, positions)
            step = step.f_back
    return _searched(frame, inherited, innermost)


def _searched(frame: FrameType | None, inherited: Position, innermost: CodeType | None) -> Position:
    nearest = outermost = None  # of the frames in an installed package
    while frame is not None:
        code = frame.f_code
        positions = _positions.get(id(code))
        if positions is not None:
            if not positions.library:  # the search ends
                return positions.get(frame.f_lasti) or _position_at(frame, positions)
            outermost = positions
            if nearest is None:
                nearest, its_positions = frame, positions
            if code is innermost:
                break
        else:
            role = _roles.get(id(code))
            if role is not None:
                if role in _OF_CALLS:
                    break
            elif not from_torch(code):
                _positions[id(code)] = _Positions(library_of(code))
                continue
        frame = frame.f_back
    if nearest is None or outermost is None:
        return inherited
    while its_positions.library != outermost.library and nearest.f_back is not None:
        nearest = nearest.f_back
        its_positions = _positions.get(id(nearest.f_code), its_positions)
    return its_positions.get(nearest.f_lasti) or _position_at(nearest, its_positions)


def _position_at(frame: FrameType, positions: _Positions) -> Position:
    """Where the frame is, as an object that is the same each time."""
    return positions.setdefault(frame.f_lasti, (frame.f_code, frame.f_lasti))


def positions_in(code: CodeType | None) -> dict[int, Position]:
    """The positions that were found so far in a code object, by instruction."""
    return _positions.get(id(code), _NO_POSITIONS)


def code_that_ends_search(forward: Any) -> CodeType | None:
    """The code of a forward that is observed, if a position in it is always what `position_outside_torch` would find.

    That is so for the model's own code, and for a library's if only functions that are observed run it: our wrapper is
    then the next frame outwards. Where decorators are around a forward, it is the code of the forward itself.
    """
    code = getattr(forward, "__code__", None)
    if code is None:
        return None
    inner = forward.__dict__.get("__wrapped__")
    if type(inner) is FunctionType and inner.__name__ == "forward":
        return code_that_ends_search(original_of(inner))
    if from_torch(code):
        return None
    positions = _positions.setdefault(id(code), _Positions(library_of(code)))
    # A generator is resumed from anywhere, and what has variables of an outer function may be what a decorator makes.
    is_alone = not code.co_flags & _RESUMED and set(code.co_freevars) <= {"__class__"}
    return code if is_alone or not positions.library else None


def position_of_caller(frame: FrameType) -> Position:
    """The position that called a model from outside of all calls; none of the user's if a command did it for them.

    A package of ours that calls models in its user's place says so by `__fwdtrace_calls_models__` in its `__init__`.
    """
    step: FrameType | None = frame
    while step is not None and (id(step.f_code) in _roles or from_torch(step.f_code)):
        step = step.f_back
    if step is None:
        return NOWHERE
    package = sys.modules.get(step.f_globals.get("__package__") or "")
    if hasattr(package, "__fwdtrace_calls_models__"):
        return NOWHERE
    code = step.f_code
    return _position_at(step, _positions.get(id(code)) or _positions.setdefault(id(code), _Positions(library_of(code))))


def codes_between(frame: FrameType | None) -> tuple[CodeType, ...]:
    """The code objects of the frames from `frame` out to where we opened the call, outermost first."""
    codes: list[CodeType] = []
    while frame is not None:
        role = _roles.get(id(frame.f_code))
        if role in ("call", "boundary", "hook"):
            break
        if role is None:
            codes.append(frame.f_code)
        frame = frame.f_back
    return one_chain(codes)


def role_of(code: CodeType) -> Role | None:
    """What a function of ours is there for; None if the code is of no function of ours."""
    return _roles.get(id(code))


def run_by(code: CodeType) -> FunctionType | None:
    """What a code object of ours in the place of a forward's own goes on to; None of all other code."""
    return _originals.get(id(code))


def is_ours(code: CodeType) -> bool:
    """Whether it is a function of ours that runs in the middle of the user's."""
    return id(code) in _roles


def is_boundary(code: CodeType) -> bool:
    """Whether it is a function of ours that runs a call or wraps a forward."""
    return _roles.get(id(code)) in ("call", "boundary", "forward")


def runs_in_a_call(frame: FrameType | None) -> bool:
    """Whether the call of some module is running at this frame or below it."""
    while frame is not None:
        if id(frame.f_code) in IDS_OF_CALLS:
            return True
        frame = frame.f_back
    return False


def error_of(error: BaseException) -> CallError:
    """What is kept of an exception that passes a wrapper of ours: type, text, where it came from."""
    step: TracebackType | None = error.__traceback__.tb_next if error.__traceback__ is not None else None
    position: Position | None = None
    own: tuple[str, ...] = ("",)
    while step is not None and _roles.get(id(step.tb_frame.f_code)) != "call":
        code = step.tb_frame.f_code
        if id(code) not in _roles and not from_torch(code):
            own = own if position is not None else ("", library_of(code))
            if library_of(code) in own:
                position = code, step.tb_lasti
        step = step.tb_next
    try:
        message = str(error)
    except Exception:  # the exception's own __str__ is broken, which must not replace the exception
        message = ""
    if step is not None:
        return CallError(type(error).__name__, message, raised_below=True)
    return CallError(type(error).__name__, message, site=site_at(position) if position is not None else None)


def name_of_code(code: CodeType) -> str:
    """The name of a code object, qualified where Python tells it (3.11)."""
    return NAMES_OF_CODES.get(code) or str(getattr(code, "co_qualname", code.co_name))


def site_at(position: Position) -> Site:
    """The file, line, function and source text of a position."""
    code, instruction = position
    line = _line(code, instruction)
    text = linecache.getline(code.co_filename, line).strip()
    return Site(_file(code.co_filename), line, name_of_code(code), text)


def _file(name: str) -> str:
    """The name of a file; of a notebook's cell its number, `In[3]`, as a notebook's own tracebacks have it."""
    ipython: Any = sys.modules.get("IPython")
    shell: Any = ipython.get_ipython() if ipython is not None else None
    cell = shell.compile.format_code_name(name) if hasattr(shell, "compile") else None
    return cell[1] if cell is not None else name


def one_chain(inner_first: list[CodeType]) -> tuple[CodeType, ...]:
    """One tuple for all equal chains, so that a chain is known by its id."""
    key = tuple(map(id, inner_first))
    return _chains.get(key) or _chains.setdefault(key, tuple(reversed(inner_first)))


_lines: dict[int, tuple[list[int], list[int]]] = {}


def _line(code: CodeType, instruction: int) -> int:
    table = _lines.get(id(code))
    if table is None:
        spans = [(start, line) for start, _, line in code.co_lines() if line is not None]
        table = [start for start, _ in spans], [line for _, line in spans]
        _lines[id(code)] = table
        _kept.append(code)
    starts, lines = table
    index = bisect_right(starts, instruction) - 1
    return lines[index] if index >= 0 else code.co_firstlineno
