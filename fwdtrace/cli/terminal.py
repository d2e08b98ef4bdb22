"""The two streams of a command: stdout for the result alone, in colour where a terminal shows it, and stderr."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from rich.console import Console


def result_console() -> Console:
    """The console for a result on stdout: text, never markup; plain where stdout is no terminal or NO_COLOR is set.

    From here on, a reader that has seen enough ends the program without a word, as it ends `cat`.
    """
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    return _console(stderr=False)


def stderr_console() -> Console:
    """The console for what is shown beside a program, whose stdout is its own."""
    return _console(stderr=True)


@contextmanager
def stdout_kept_clean() -> Iterator[None]:
    """Keep stdout for the result: what anybody prints meanwhile, C code included, goes to stderr."""
    with redirect_stdout(sys.stderr):
        if sys.__stdout__ is None or sys.__stdout__.closed:
            yield
            return
        sys.__stdout__.flush()
        stdout = os.dup(1)
        os.dup2(2, 1)
        try:
            yield
        finally:
            _flush_c_streams()
            os.dup2(stdout, 1)
            os.close(stdout)


def _console(*, stderr: bool) -> Console:
    from rich.console import Console

    # rich itself would keep bold and dim where NO_COLOR is set
    colors: Literal["auto"] | None = None if os.environ.get("NO_COLOR") else "auto"
    return Console(stderr=stderr, color_system=colors, markup=False, highlight=False, emoji=False)


def _flush_c_streams() -> None:
    """Write out what C code has printed into its own buffers, which would otherwise end up in the result."""
    import ctypes

    if os.name == "posix":
        ctypes.CDLL(None).fflush(None)
