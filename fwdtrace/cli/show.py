"""`fwdtrace show`: a saved trace, shown again or written in another format. Never imports torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fwdtrace.cli.options import Result, Shown
from fwdtrace.cli.results import check_files, give_trace


def show(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A trace that was saved with -o FILE.json.", show_default=False)
    ],
    shown: Shown,
    result: Result,
) -> None:
    """Show a saved trace again, or write it in another format.

    Example: fwdtrace show trace.json --depth 2
    """
    from fwdtrace.trace.read import load_trace

    check_files(result.files)
    give_trace(load_trace(file), shown, result)
