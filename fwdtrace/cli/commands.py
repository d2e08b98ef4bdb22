"""All commands behind one name, as typer takes them."""

from __future__ import annotations

from typing import Annotated

import typer
import typer.main

from fwdtrace.cli.compare import compare
from fwdtrace.cli.convert import convert
from fwdtrace.cli.declared import MODEL, PROGRAM, TRACE
from fwdtrace.cli.exec import exec
from fwdtrace.cli.models import models
from fwdtrace.cli.now import now
from fwdtrace.cli.panels import PanelledCommand
from fwdtrace.cli.rule import rule
from fwdtrace.cli.run import run
from fwdtrace.cli.sets import as_typer_takes_it
from fwdtrace.cli.show import show
from fwdtrace.cli.usage import WrongUsage, in_one_line
from fwdtrace.errors import FwdtraceError
from fwdtrace.version import __version__

app = typer.Typer(
    name="fwdtrace",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # help is text: brackets in it are brackets
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
app.command(cls=PanelledCommand)(as_typer_takes_it(run, MODEL))
app.command(cls=PanelledCommand)(as_typer_takes_it(compare, MODEL))
app.command(cls=PanelledCommand)(as_typer_takes_it(convert))
app.command(cls=PanelledCommand, context_settings={"allow_interspersed_args": False})(as_typer_takes_it(exec, PROGRAM))
app.command(cls=PanelledCommand)(as_typer_takes_it(now))
app.command(cls=PanelledCommand)(as_typer_takes_it(show, TRACE))
app.command(cls=PanelledCommand)(as_typer_takes_it(models))
app.command(cls=PanelledCommand)(as_typer_takes_it(rule))


def run_with_typer(words: list[str]) -> None:
    """Have typer read the command line and run the command; FwdtraceError if it is wrong."""
    try:
        typer.main.get_command(app).main(words, standalone_mode=False)  # app() itself would replace sys.excepthook
    except WrongUsage as error:
        raise FwdtraceError(in_one_line(error, words)) from None


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
