"""`fwdtrace show`: a saved trace, shown again or written in another format. Never imports torch."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from fwdtrace.cli.results import check_files, result_console, save


def show(
    file: Annotated[Path, typer.Argument(help="A trace that was saved with -o FILE.json.", show_default=False)],
    depth: Annotated[int | None, typer.Option(min=0, help="Show calls down to this depth only.")] = None,
    no_fold: Annotated[bool, typer.Option("--no-fold", help="Show every one of equal blocks.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the trace as JSON, and nothing else.")] = False,
    output: Annotated[
        list[Path] | None, typer.Option("-o", "--output", help="Save to this .json or .txt file; repeatable.")
    ] = None,
) -> None:
    """Show a saved trace again, or write it in another format.

    Example: fwdtrace show trace.json --depth 2
    """
    from fwdtrace.render.tree import print_tree
    from fwdtrace.trace_file import load_trace, write_trace

    files = output or []
    check_files(files)
    trace = load_trace(file)
    console = result_console()
    for target in files:
        save(trace, target, width=console.width, depth=depth, fold=not no_fold)
    if json:
        write_trace(trace, sys.stdout)
    else:
        print_tree(trace, console, depth=depth, fold=not no_fold)
    sys.stdout.flush()
