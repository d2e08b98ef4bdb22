"""A command line is run, and each way for a command to end becomes a line and an exit status."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from importlib import import_module
from traceback import format_exc
from typing import NoReturn

from fwdtrace.cli.declared import call
from fwdtrace.cli.fail_on import AskedToFail
from fwdtrace.cli.mistaken import what_to_write
from fwdtrace.cli.plain import plain_values
from fwdtrace.cli.terminal import mend_streams, to_stderr
from fwdtrace.errors import FwdtraceError

FAILED = 1
TROUBLE = 2

COMMANDS = ("run", "compare", "convert", "exec", "now", "show", "models", "rule")
"""The names of the commands; each is a function of this name in a file of this name."""


def run_command(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line, or these arguments in its place, and end the program."""
    words = sys.argv[1:] if arguments is None else arguments
    if words[:1] != ["exec"]:  # a program finds its streams as they are
        mend_streams()
    # torch says so on import where there is no numpy, and nothing here needs it
    warnings.filterwarnings("ignore", message="Failed to initialize NumPy", category=UserWarning)
    try:
        mistake = what_to_write(words, COMMANDS)
        if mistake is not None:
            raise FwdtraceError(mistake)
        if not _ran_without_typer(words):
            from fwdtrace.cli.commands import run_with_typer

            run_with_typer(words)
    except AskedToFail as reason:
        _end(FAILED, reason)
    except FwdtraceError as error:
        if error.__cause__ is not None:
            from fwdtrace.cli.tracebacks import their_traceback

            to_stderr(their_traceback(error.__cause__, full=error.full_traceback).rstrip("\n"))
        _end(TROUBLE, error)
    except BrokenPipeError:  # whoever reads has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(FAILED)
    except OSError as error:
        _end(TROUBLE, f"the result cannot be written: {error.strerror}")
    except Exception:  # a mistake of ours must not look like status 1, which is an answer
        to_stderr(format_exc().rstrip("\n"))
        _end(TROUBLE, "this is a mistake in fwdtrace itself; please report it with the lines above")
    sys.exit(0)


def command_of(name: str) -> Callable[..., None]:
    """The function of a command; no other command is imported."""
    command: Callable[..., None] = getattr(import_module(f"fwdtrace.cli.{name}"), name)
    return command


def _ran_without_typer(words: list[str]) -> bool:
    """Run the command if these words are plain, and say whether they were; the shell may be asking what to offer."""
    completing = any(name.startswith("_") and name.endswith("_COMPLETE") for name in os.environ)
    if completing or not words or words[0] not in COMMANDS:
        return False
    command = command_of(words[0])
    values = plain_values(command, words[1:])
    if values is None:
        return False
    call(command, values)
    return True


def _end(status: int, message: object) -> NoReturn:
    to_stderr(f"fwdtrace: {message}")
    sys.exit(status)
