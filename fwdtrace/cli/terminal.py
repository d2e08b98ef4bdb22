"""The two streams of a command: stdout for the result alone, in colour where a terminal shows it, and stderr."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from io import TextIOWrapper
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from rich.console import Console


def mend_streams() -> None:
    """Give the null device to each standard stream that is closed, so that no file that is opened takes its place.

    What the encoding of stdout does not take is escaped from here on.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest descriptor that is free
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def to_stderr(text: str) -> None:
    """Write the text on a line of stderr, if there is a stderr and it takes any."""
    if sys.stderr is not None:  # print would take stdout in its place
        with suppress(OSError):
            if text.startswith("fwdtrace: ") and sys.stderr.isatty():
                text = _wrapped(text)
            print(text, file=sys.stderr, flush=True)


def _wrapped(text: str) -> str:
    """The text in lines that fit the terminal, broken between words, but not within a command to copy."""
    import re
    import shutil
    import textwrap

    columns = shutil.get_terminal_size().columns
    whole = re.sub(r"\bfwdtrace [a-z]+ \S+", lambda match: match[0].replace(" ", "\0"), text)
    fill = textwrap.TextWrapper(columns, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False).fill
    return "\n".join(map(fill, whole.split("\n"))).replace("\0", " ")


def result_is_given() -> None:
    """Write out stdout; from here on nothing is left to be told, and Ctrl-C ends the process without a word."""
    sys.stdout.flush()
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def result_console(color: str = "auto") -> Console:
    """The console for a result on stdout: text, never markup; plain where stdout is no terminal or NO_COLOR is set.

    With `color` it is `always` coloured, or `never`.

    From here on, a reader that has seen enough ends the program without a word, as it ends `cat`.
    """
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    return _console(color, stderr=False)


def stderr_console(color: str = "auto") -> Console:
    """The console for what is shown beside a program, whose stdout is its own."""
    return _console(color, stderr=True)


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


def _console(color: str, *, stderr: bool) -> Console:
    from rich.console import Console

    # rich itself would keep bold and dim where NO_COLOR is set
    plain = color == "never" or (color == "auto" and os.environ.get("NO_COLOR"))
    colors: Literal["auto", "standard"] | None = None if plain else "standard" if color == "always" else "auto"
    forced = True if color == "always" else None
    console = Console(
        stderr=stderr,
        color_system=colors,
        force_terminal=forced,
        no_color=False if forced else None,
        markup=False,
        highlight=False,
        emoji=False,
    )
    if console.width < 1:  # COLUMNS=0 says that nobody knows
        console.width = 80
    return console


def _flush_c_streams() -> None:
    """Write out what C code has printed into its own buffers, which would otherwise end up in the result."""
    import ctypes

    if os.name == "posix":
        ctypes.CDLL(None).fflush(None)
