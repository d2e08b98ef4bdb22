"""What a command makes of a trace or a comparison: files by their suffix, JSON, or what a person sees."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fwdtrace.cli.pager import paged
from fwdtrace.cli.terminal import result_console, result_is_given, to_stderr
from fwdtrace.errors import FwdtraceError

if TYPE_CHECKING:
    from rich.console import Console

    from fwdtrace.cli.options import Result, Shown
    from fwdtrace.compare.comparison import TraceComparison
    from fwdtrace.compare.direct.comparison import DirectComparison
    from fwdtrace.trace import Trace


def give_trace(trace: Trace, shown: Shown, result: Result) -> None:
    """Save a trace to the files, and print it: as JSON and nothing else, or as it is to be shown."""
    console = result_console(shown.color)
    for file in result.files:
        try:
            save_as_suffix(trace, file, shown, width=console.width)
        except OSError as error:
            raise _unwritten(file, error) from None
    if result.json:
        from fwdtrace.trace.trace import write_trace

        write_trace(trace, sys.stdout)
        if unused := _of_the_screen(shown):
            to_stderr(f"fwdtrace: --json gives the whole trace, with or without {', '.join(unused)}")
    else:
        with paged(console, off=result.no_pager):
            print_trace(trace, shown, console)
    result_is_given()


def give_comparison(comparison: TraceComparison | DirectComparison, result: Result, color: str = "auto") -> None:
    """Save a comparison to the files, and print it: as JSON and nothing else, or as text."""
    console = result_console(color)
    for file in result.files:
        try:
            if file.suffix == ".json":
                comparison.save(file)
            else:
                _write(file, _comparison_as_suffix(comparison, file, console.width))
        except OSError as error:
            raise _unwritten(file, error) from None
    if result.json:
        comparison.write(sys.stdout)
    else:
        with paged(console, off=result.no_pager):
            _print_comparison(comparison, console)
    result_is_given()


def save_as_suffix(trace: Trace, file: Path, shown: Shown, *, width: int) -> None:
    """Write a trace in the format of the suffix, text `width` columns wide; OSError if that cannot be."""
    if file.suffix == ".txt" and (shown.source or shown.sort):
        _write(file, _as_text(trace, shown, width))
    else:
        trace.save(file, width=width, **_view(shown))


def _write(file: Path, text: str) -> None:
    from fwdtrace.trace.files import write_text

    write_text(file, text.rstrip("\n") + "\n")


def _unwritten(file: Path, error: OSError) -> FwdtraceError:
    return FwdtraceError(f"-o {file}: cannot be written: {error.strerror}")


def print_trace(trace: Trace, shown: Shown, console: Console) -> None:
    """Print a trace as it is to be shown: its source, a ranking, or the tree."""
    if shown.source:
        from fwdtrace.render.source import print_source

        print_source(trace, console, only=shown.patterns)
    elif shown.sort:
        from fwdtrace.render.ranking import print_ranking

        print_ranking(trace, console, by=shown.sort, top=shown.top, only=shown.patterns)
    else:
        from fwdtrace.render.tree import print_tree

        print_tree(trace, console, **_view(shown))


def _of_the_screen(shown: Shown) -> list[str]:
    """The options that say what is shown of a trace, as far as they are given; columns and keys are measured too."""
    given = {"--source": shown.source, "--only": shown.only, "--depth": shown.depth is not None}
    return [name for name, is_given in given.items() if is_given]


def _view(shown: Shown) -> dict[str, Any]:
    """The options of a tree, as the functions that draw one take them."""
    return {"depth": shown.depth, "fold": shown.fold, "columns": shown.column_keys, "only": shown.patterns}


def _as_text(trace: Trace, shown: Shown, width: int) -> str:
    """The trace as source code or as a ranking."""
    if shown.source or not shown.sort:
        from fwdtrace.render.source import source_text

        return source_text(trace, width=width, only=shown.patterns)
    from fwdtrace.render.ranking import ranking_text

    return ranking_text(trace, by=shown.sort, top=shown.top, width=width, only=shown.patterns)


def _print_comparison(comparison: TraceComparison | DirectComparison, console: Console) -> None:
    from fwdtrace.compare.comparison import TraceComparison
    from fwdtrace.render.direct_forward import print_comparison
    from fwdtrace.render.two_traces import print_changes

    if isinstance(comparison, TraceComparison):
        print_changes(comparison, console)
    else:
        print_comparison(comparison, console)


def _comparison_as_suffix(comparison: TraceComparison | DirectComparison, file: Path, width: int) -> str:
    from fwdtrace.compare.comparison import TraceComparison
    from fwdtrace.render.direct_forward import comparison_text
    from fwdtrace.render.html import comparison_html
    from fwdtrace.render.two_traces import changes_text

    if isinstance(comparison, TraceComparison):
        return comparison_html(comparison) if file.suffix == ".html" else changes_text(comparison, width=width)
    return comparison_text(comparison, width=width)
