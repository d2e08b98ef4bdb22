"""All commands behind one name, and how each way for a command to end becomes a line and an exit status."""

from __future__ import annotations

import sys
import warnings
from traceback import format_exc
from typing import Annotated, NoReturn

import typer
import typer.main

from fwdtrace.cli.compare import compare
from fwdtrace.cli.convert import convert
from fwdtrace.cli.exec import exec
from fwdtrace.cli.fail_on import AskedToFail
from fwdtrace.cli.models import models
from fwdtrace.cli.now import now
from fwdtrace.cli.panels import MODEL, PROGRAM, TRACE, PanelledCommand
from fwdtrace.cli.rule import rule
from fwdtrace.cli.run import run
from fwdtrace.cli.sets import as_typer_takes_it
from fwdtrace.cli.show import show
from fwdtrace.cli.terminal import mend_streams, to_stderr
from fwdtrace.cli.tracebacks import their_traceback
from fwdtrace.errors import FwdtraceError
from fwdtrace.version import __version__

FAILED = 1
TROUBLE = 2

app = typer.Typer(
    name="fwdtrace",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # help is text: brackets in it are brackets
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
app.command(cls=PanelledCommand)(as_typer_takes_it(run, MODEL))
app.command(cls=PanelledCommand)(as_typer_takes_it(compare, MODEL))
app.command()(as_typer_takes_it(convert))
app.command("exec", cls=PanelledCommand, context_settings={"allow_interspersed_args": False})(
    as_typer_takes_it(exec, PROGRAM)
)
app.command()(as_typer_takes_it(now))
app.command(cls=PanelledCommand)(as_typer_takes_it(show, TRACE))
app.command()(as_typer_takes_it(models))
app.command()(as_typer_takes_it(rule))


def run_command(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line, or these arguments in its place, and end the program."""
    if (sys.argv[1:] if arguments is None else arguments)[:1] != ["exec"]:  # a program finds its streams as they are
        mend_streams()
    # torch says so on import where there is no numpy, and nothing here needs it
    warnings.filterwarnings("ignore", message="Failed to initialize NumPy", category=UserWarning)
    try:
        typer.main.get_command(app)(arguments)  # app() itself would replace sys.excepthook
    except AskedToFail as reason:
        _end(FAILED, reason)
    except FwdtraceError as error:
        if error.__cause__ is not None:
            to_stderr(their_traceback(error.__cause__, full=error.full_traceback).rstrip("\n"))
        _end(TROUBLE, error)
    except OSError as error:
        _end(TROUBLE, f"the result cannot be written: {error.strerror}")
    except Exception:  # a mistake of ours must not look like status 1, which is an answer
        to_stderr(format_exc().rstrip("\n"))
        _end(TROUBLE, "this is a mistake in fwdtrace itself; please report it with the lines above")
    sys.exit(0)


@app.callback(invoke_without_command=True)
def top(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    """Show what really runs when you call a PyTorch model.

    fwdtrace run lenet              the calls of a built-in model

    fwdtrace run model.py:Net       those of a model of yours
    """
    if version:
        typer.echo(f"fwdtrace {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def _end(status: int, message: object) -> NoReturn:
    to_stderr(f"fwdtrace: {message}")
    sys.exit(status)
