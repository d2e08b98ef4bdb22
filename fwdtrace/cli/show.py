"""`fwdtrace show`: a saved trace, shown again or written in another format. Never imports torch."""

from __future__ import annotations

import glob
import sys
from typing import Annotated

from fwdtrace.cli.declared import argument
from fwdtrace.cli.files import check_files
from fwdtrace.cli.options import Result, Shown
from fwdtrace.cli.pager import paged
from fwdtrace.cli.results import give_trace
from fwdtrace.cli.terminal import result_console, result_is_given


def show(
    files: Annotated[
        list[str],
        argument(
            metavar="FILE...",
            help="A trace that was saved with -o FILE.json, or all ranks of a program.",
            show_default=False,
        ),
    ],
    shown: Shown,
    result: Result,
) -> None:
    """Show a saved trace again, or write it in another format.

    The files of several ranks of a program are shown as one.

    Example: fwdtrace show trace.json --depth 2

    Example: fwdtrace show 'train.rank*.json'
    """
    check_files(result.files)
    named = _expanded(files)
    if len(named) > 1 or any(character in files[0] for character in "*?["):
        check_files(result.files, (".json", ".txt"))
        _show_ranks(named or files, shown, result)
        return
    from fwdtrace.trace.read import load_trace

    give_trace(load_trace(named[0]), shown, result)


def _expanded(files: list[str]) -> list[str]:
    """The files that the names and patterns mean, each once; a pattern that a shell did not expand is expanded here."""
    found = [match for name in files for match in (sorted(glob.glob(name)) or [name])]
    return list(dict.fromkeys(found))


def _show_ranks(files: list[str], shown: Shown, result: Result) -> None:
    from fwdtrace.compare.ranks.ranks import view_of_ranks
    from fwdtrace.render.ranks import print_ranks, ranks_text, write_ranks
    from fwdtrace.trace.files import replacing, write_text

    view = view_of_ranks(files)
    console = result_console()
    for file in result.files:
        if file.suffix == ".json":
            with replacing(file) as path, path.open("w", encoding="ascii") as stream:
                write_ranks(view, stream)
        else:
            write_text(file, ranks_text(view, width=console.width) + "\n")
    if result.json:
        write_ranks(view, sys.stdout)
    else:
        with paged(console, off=result.no_pager):
            print_ranks(view, console, depth=shown.depth, fold=shown.fold)
    result_is_given()
