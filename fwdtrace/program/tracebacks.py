"""Keep our frames out of the tracebacks of errors that pass through our code on their way to the program."""

from __future__ import annotations

import functools
import os
import sys
from types import CodeType, FrameType

from fwdtrace.errors import SKIPPED_BY_WARNINGS
from fwdtrace.program.compiled_tracebacks import take_our_lines_out, without_our_part

_OURS = os.path.dirname(os.path.dirname(__file__)) + os.sep
_ZOO = os.path.join(_OURS, "models", "zoo", "")


def hide_our_frames(error: BaseException) -> None:
    """Take our frames out of an error that is caught in the outermost of them, which then raises it by a bare `raise`.

    Who catches it, in any thread, finds it as it would be without us. Python 3.10 puts the outermost frame back.
    """
    forget_our_frames(error)
    if sys.version_info < (3, 11):
        _hide_where_a_program_ends()


class _WithoutOurFrames:
    """Blocks whose errors leave them without our frames; that of the block itself must be the outermost."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if error is not None:
            hide_our_frames(error)


without_our_frames = _WithoutOurFrames()


@functools.cache
def _hide_where_a_program_ends() -> None:
    """From now on, take our frames out of an error before `sys.excepthook` gets it, whatever that is by then.

    It cannot be undone and costs a little with each audited event, so it is called when there is such an error.
    """
    sys.addaudithook(_before_event)


def _before_event(event: str, arguments: tuple[object, ...]) -> None:
    if event == "sys.excepthook" and isinstance(error := arguments[2], BaseException):
        forget_our_frames(error)


def forget_our_frames(error: BaseException) -> None:
    """Take our frames out of the tracebacks of an error and of what caused it, where they stand."""
    pending: list[BaseException | None] = [error]
    seen: set[int] = set()
    while pending:
        current = pending.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        steps = []
        step = current.__traceback__
        while step is not None:
            if not _is_ours(step.tb_frame):
                steps.append(step)
            step = step.tb_next
        take_our_lines_out(current, _is_our_file)
        below = None
        for step in reversed(without_our_part(steps, _is_our_file)):
            step.tb_next = below
            below = step
        current.__traceback__ = below
        pending += [current.__cause__, current.__context__, *getattr(current, "exceptions", ())]


def _is_ours(frame: FrameType) -> bool:
    return _is_our_file(frame.f_code.co_filename)


def _is_our_file(file: str) -> bool:
    return file == SKIPPED_BY_WARNINGS or (file.startswith(_OURS) and not file.startswith(_ZOO))


def is_the_programs(code: CodeType) -> bool:
    """Whether the code is of the program, and not of a library that it uses or of ours."""
    return is_a_file_of_the_program(code.co_filename)


def is_a_file_of_the_program(file: str) -> bool:
    """Whether the code in this file is of the program."""
    libraries = ("site-packages", "dist-packages", os.__file__[:-5])
    return not any(part in file for part in libraries) and not _is_our_file(file) and os.path.exists(file)
