"""The tracebacks that a user sees: the frames of their own code, and those of torch on request."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from traceback import StackSummary, TracebackException

from fwdtrace.errors import SKIPPED_BY_WARNINGS, FwdtraceError
from fwdtrace.models import zoo

_OURS = os.path.dirname(os.path.dirname(__file__)) + os.sep
_ZOO = os.path.dirname(zoo.__file__) + os.sep
_IMPORT_MACHINERY = ("<frozen importlib", os.path.dirname(importlib.__file__) + os.sep)


def their_traceback(error: BaseException, *, full: bool = False) -> str:
    """The traceback of an exception of the user's code, without the frames of fwdtrace and of the import machinery.

    The frames of torch are there with `full`, and where no other would be left.
    """
    formatted = TracebackException.from_exception(error)
    _forget(formatted, _is_ours)
    torch = sys.modules.get("torch")
    if torch is not None and torch.__file__ and not full:
        folder = os.path.dirname(torch.__file__) + os.sep
        _forget(formatted, lambda file: file.startswith(folder))
    return "".join(formatted.format())


@contextmanager
def full_tracebacks(full: bool) -> Iterator[None]:
    """Show the frames of torch in the traceback of what the block raises, if `full`."""
    try:
        yield
    except FwdtraceError as error:
        error.full_traceback = full
        raise


def _forget(error: TracebackException, is_left_out: Callable[[str], bool]) -> None:
    """Leave out the frames of these files; of files that are not ours only if another frame stays."""
    kept = [frame for frame in error.stack if not is_left_out(frame.filename)]
    if kept or is_left_out is _is_ours:
        error.stack = StackSummary.from_list(kept)
    for chained in (error.__cause__, error.__context__, *(getattr(error, "exceptions", None) or ())):
        if chained is not None:
            _forget(chained, is_left_out)


def _is_ours(file: str) -> bool:
    """Whether a frame of this file is not the user's; the built-in models stand for models of the user's."""
    if file.startswith((*_IMPORT_MACHINERY, SKIPPED_BY_WARNINGS)):
        return True
    return file.startswith(_OURS) and not file.startswith(_ZOO)
