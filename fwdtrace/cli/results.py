"""What the commands share about results: a clean stdout, files by suffix, and tracebacks of the user's own code."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from traceback import StackSummary, TracebackException
from typing import TYPE_CHECKING, Literal

import fwdtrace
from fwdtrace.cli.options import Key
from fwdtrace.errors import FwdtraceError
from fwdtrace.models import zoo

if TYPE_CHECKING:  # what draws is loaded when there is something to draw
    from rich.console import Console

    from fwdtrace.trace import Trace

TRACE_SUFFIXES = (".json", ".txt", ".svg", ".html", ".md", ".mmd", ".csv", ".trace.json")

_OURS = os.path.dirname(fwdtrace.__file__) + os.sep
_ZOO = os.path.dirname(zoo.__file__) + os.sep
_IMPORT_MACHINERY = ("<frozen importlib", os.path.dirname(importlib.__file__) + os.sep)


class AskedToFail(Exception):
    """What the user asked to fail on was there; the text says what."""


def result_console() -> Console:
    """The console for a result on stdout: text, never markup; plain where stdout is no terminal or NO_COLOR is set.

    From here on, a reader that has seen enough ends the program without a word, as it ends `cat`.
    """
    from rich.console import Console

    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    colors: Literal["auto"] | None = (
        None if os.environ.get("NO_COLOR") else "auto"
    )  # rich itself would keep bold and dim
    return Console(color_system=colors, markup=False, highlight=False, emoji=False)


def check_files(files: list[Path], suffixes: tuple[str, ...] = TRACE_SUFFIXES, option: str = "-o") -> None:
    """Refuse, before anything is run, a file that could not be written then."""
    for file in files:
        if not file.name.endswith(suffixes):
            known = f"one of {' '.join(suffixes)}" if len(suffixes) > 1 else suffixes[0]
            raise FwdtraceError(f"{option} {file}: the suffix picks the format; use {known}")
        if not file.parent.is_dir():
            raise FwdtraceError(f"{option} {file}: there is no folder {str(file.parent)!r}; make it first")
        if file.is_dir():
            raise FwdtraceError(f"{option} {file}: is a folder; name a file")


@dataclass(frozen=True)
class Shown:
    """How a trace is shown to a person: as a tree, cut and folded or not, as source code, or as a ranking."""

    depth: int | None = None
    fold: bool = True
    source: bool = False
    sort: Key | None = None
    top: int = 20


def give(trace: Trace, shown: Shown, files: list[Path], *, as_json: bool) -> None:
    """Save a trace to the files, and print it: as JSON and nothing else, or as it is to be shown."""
    console = result_console()
    for file in files:
        try:
            save_as_suffix(trace, file, shown, width=console.width)
        except OSError as error:
            raise FwdtraceError(f"-o {file}: cannot be written: {error.strerror}") from None
    if as_json:
        from fwdtrace.trace.trace import write_trace

        write_trace(trace, sys.stdout)
    else:
        _print(trace, shown, console)
    sys.stdout.flush()


def _print(trace: Trace, shown: Shown, console: Console) -> None:
    if shown.source:
        from fwdtrace.render.source import print_source

        print_source(trace, console)
    elif shown.sort:
        from fwdtrace.render.ranking import print_ranking

        print_ranking(trace, console, by=shown.sort, top=shown.top)
    else:
        from fwdtrace.render.tree import print_tree

        print_tree(trace, console, depth=shown.depth, fold=shown.fold)


def _text(trace: Trace, shown: Shown, width: int) -> str:
    if shown.source:
        from fwdtrace.render.source import source_text

        return source_text(trace, width=width)
    if shown.sort:
        from fwdtrace.render.ranking import ranking_text

        return ranking_text(trace, by=shown.sort, top=shown.top, width=width)
    from fwdtrace.render.tree import tree_text

    return tree_text(trace, width=width, depth=shown.depth, fold=shown.fold)


def save_as_suffix(trace: Trace, file: Path, shown: Shown, *, width: int) -> None:
    """Write a trace in the format of the suffix, text as wide as it is on the screen; OSError if that cannot be."""
    if file.suffix == ".json" and not file.name.endswith(".trace.json"):
        trace.save(file)
    else:
        file.write_text(_as_suffix(trace, file, shown, width).rstrip("\n") + "\n", encoding="utf-8")


def _as_suffix(trace: Trace, file: Path, shown: Shown, width: int) -> str:
    if file.suffix == ".json":
        from fwdtrace.render.timeline import timeline_text

        return timeline_text(trace)
    if file.suffix == ".csv":
        from fwdtrace.render.csv import csv_text

        return csv_text(trace)
    if file.suffix == ".html":
        from fwdtrace.render.html import html_text

        return html_text(trace)
    if file.suffix == ".md":
        from fwdtrace.render.markdown import markdown_text

        return markdown_text(trace, depth=shown.depth, fold=shown.fold)
    if file.suffix == ".mmd":
        from fwdtrace.render.mermaid import mermaid_text

        return mermaid_text(trace, depth=shown.depth, fold=shown.fold)
    if file.suffix == ".svg":
        from fwdtrace.render.svg import svg_text

        return svg_text(trace, width=width, depth=shown.depth, fold=shown.fold)
    return _text(trace, shown, width)


@contextmanager
def stdout_kept_clean() -> Iterator[None]:
    """Keep stdout for the result: what anybody prints meanwhile, C code included, goes to stderr."""
    with redirect_stdout(sys.stderr):
        if sys.__stdout__ is None or sys.__stdout__.closed:
            yield
            return
        sys.__stdout__.flush()
        kept = os.dup(1)
        os.dup2(2, 1)
        try:
            yield
        finally:
            _flush_c_streams()
            os.dup2(kept, 1)
            os.close(kept)


def their_traceback(error: BaseException) -> str:
    """The traceback of an exception of the user's code, without the frames of fwdtrace and of the import machinery."""
    told = TracebackException.from_exception(error)
    _forget_our_frames(told)
    return "".join(told.format())


def _forget_our_frames(told: TracebackException) -> None:
    told.stack = StackSummary.from_list(frame for frame in told.stack if not _is_ours(frame.filename))
    for chained in (told.__cause__, told.__context__, *(getattr(told, "exceptions", None) or ())):
        if chained is not None:
            _forget_our_frames(chained)


def _is_ours(file: str) -> bool:
    return file.startswith(_IMPORT_MACHINERY) or (file.startswith(_OURS) and not file.startswith(_ZOO))


def _flush_c_streams() -> None:
    """Empty what C code has printed but C has kept, before it would end up in the result."""
    import ctypes

    if os.name == "posix":
        ctypes.CDLL(None).fflush(None)
