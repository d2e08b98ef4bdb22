"""The tracebacks that a user sees: the frames of their own code, without those of fwdtrace."""

from __future__ import annotations

import importlib
import os
from traceback import StackSummary, TracebackException

from fwdtrace.errors import SKIPPED_BY_WARNINGS
from fwdtrace.models import zoo

_OURS = os.path.dirname(os.path.dirname(__file__)) + os.sep
_ZOO = os.path.dirname(zoo.__file__) + os.sep
_IMPORT_MACHINERY = ("<frozen importlib", os.path.dirname(importlib.__file__) + os.sep)


def their_traceback(error: BaseException) -> str:
    """The traceback of an exception of the user's code, without the frames of fwdtrace and of the import machinery."""
    formatted = TracebackException.from_exception(error)
    _forget_our_frames(formatted)
    return "".join(formatted.format())


def _forget_our_frames(error: TracebackException) -> None:
    error.stack = StackSummary.from_list(frame for frame in error.stack if not _is_ours(frame.filename))
    for chained in (error.__cause__, error.__context__, *(getattr(error, "exceptions", None) or ())):
        if chained is not None:
            _forget_our_frames(chained)


def _is_ours(file: str) -> bool:
    """Whether a frame of this file is not the user's; the built-in models stand for models of the user's."""
    if file.startswith((*_IMPORT_MACHINERY, SKIPPED_BY_WARNINGS)):
        return True
    return file.startswith(_OURS) and not file.startswith(_ZOO)
