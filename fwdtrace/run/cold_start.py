"""Importing what takes long: torch quickly, in a command of one second most of which is that import.

Until a command has begun its own work, Ctrl-C ends it at once.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

Handler = Callable[[int, FrameType | None], object]

TROUBLE = 2
"""The exit status of a command that was interrupted."""


USUAL = gc.get_threshold()
SELDOM = 100_000
"""So many objects are made between two searches for garbage while a command imports what it needs to its end."""


def collect_seldom() -> None:
    """Search for garbage seldom, which takes a seventh of a short command; a model runs with the usual collection."""
    gc.set_threshold(SELDOM, *USUAL[1:])


def import_torch() -> None:
    """Import torch without garbage collection, which would search the 250,000 objects that the import makes.

    They are all kept for as long as the program runs, so later collections leave them out as well.
    """
    gc.set_threshold(*USUAL)
    if "torch" in sys.modules or not gc.isenabled():
        return
    gc.disable()
    try:
        with ended_by_ctrl_c():
            import torch  # noqa: F401
    finally:
        gc.freeze()
        gc.enable()


@contextmanager
def ended_by_ctrl_c() -> Iterator[None]:
    """Let Ctrl-C end the process at once, with one line and status 2, as long as the block runs.

    It is for a block that only imports and reads arguments: nothing is begun that would have to be tidied up, and
    KeyboardInterrupt would show a traceback, or be caught by what is imported.
    """
    with _handler_of_ctrl_c(signal.default_int_handler, _end):
        yield


@contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C raise KeyboardInterrupt again inside `ended_by_ctrl_c`, as long as the block runs."""
    with _handler_of_ctrl_c(_end, signal.default_int_handler):
        yield


@contextmanager
def _handler_of_ctrl_c(before: Handler, inside: Handler) -> Iterator[None]:
    """Handle Ctrl-C otherwise in the block; where it is ignored, or handled by somebody else, that stays so."""
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGINT) is not before:
        yield
        return
    signal.signal(signal.SIGINT, inside)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is inside:
            signal.signal(signal.SIGINT, before)


def _end(number: int, frame: FrameType | None) -> None:
    with suppress(OSError):  # stderr may be closed
        over_progress = "\r\x1b[K" if os.isatty(2) else ""
        os.write(2, f"{over_progress}fwdtrace: interrupted\n".encode())
    os._exit(TROUBLE)
