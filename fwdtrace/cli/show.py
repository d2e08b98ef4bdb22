"""`fwdtrace show`: a saved trace, shown again or written in another format. Never imports torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fwdtrace.cli.options import Depth, Json, NoFold, Output, Sort, Source, Top
from fwdtrace.cli.results import Shown, check_files, give


def show(
    file: Annotated[Path, typer.Argument(help="A trace that was saved with -o FILE.json.", show_default=False)],
    source: Source = False,
    sort: Sort = None,
    top: Top = 20,
    depth: Depth = None,
    no_fold: NoFold = False,
    json: Json = False,
    output: Output = None,
) -> None:
    """Show a saved trace again, or write it in another format.

    Example: fwdtrace show trace.json --depth 2
    """
    from fwdtrace.trace.read import load_trace

    files = output or []
    check_files(files)
    shown = Shown(depth, not no_fold, source, sort, top)
    trace = load_trace(file)
    give(trace, shown, files, as_json=json)
