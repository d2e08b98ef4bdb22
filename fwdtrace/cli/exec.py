"""`fwdtrace exec`: run an unmodified program and record the calls of its models, under torchrun too."""

from __future__ import annotations

import os
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fwdtrace.cli.fail_on import FailOn, annotate, codes_of, fail_if_found
from fwdtrace.cli.options import Depth, NoFold
from fwdtrace.cli.results import Shown, check_files, save_as_suffix
from fwdtrace.errors import FwdtraceError, TraceFileError
from fwdtrace.program.rank_files import RankFiles, Ranks, ranks_of

if TYPE_CHECKING:
    from fwdtrace.program.traces import ProgramTraces
    from fwdtrace.trace import Trace


def exec(
    program: Annotated[
        list[str], typer.Argument(metavar="SCRIPT [ARGS]...", help="A Python file, and all that it is given.")
    ],
    module: Annotated[bool, typer.Option("-m", help="SCRIPT is the name of a module, as in python -m.")] = False,
    first: Annotated[int, typer.Option(metavar="N", min=1, help="Keep the first N calls of each model.")] = 1,
    call: Annotated[int | None, typer.Option(metavar="N", min=1, help="Keep the Nth call of each model alone.")] = None,
    every: Annotated[int | None, typer.Option(metavar="K", min=1, help="Keep the first call and every Kth.")] = None,
    model: Annotated[
        str | None, typer.Option(metavar="CLASS_OR_PATH", help="Keep the calls of these modules, not the topmost.")
    ] = None,
    stop_after: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="End the program, with status 0, after N kept calls.")
    ] = None,
    ops: Annotated[bool, typer.Option("--ops/--no-ops", help="Show the functional ops between the calls.")] = False,
    check_finite: Annotated[
        bool, typer.Option("--check-finite", help="Find where NaN and infinities come up (FT005).")
    ] = False,
    stats: Annotated[bool, typer.Option("--stats", help="Keep mean, std, min, max and zeros of every output.")] = False,
    depth: Depth = None,
    no_fold: NoFold = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Save there instead of printing on stderr.")
    ] = None,
    fail_on: FailOn = "",
) -> None:
    """Run a program as Python would, and show the first call of each of its models.

    Everything after SCRIPT is the script's. Its output stays its own; the calls are shown on stderr when it has ended.

    Example: fwdtrace exec -o first.json train.py --lr 1e-3
    """
    from fwdtrace.program.python import at_kill, run_module, run_script
    from fwdtrace.program.traces import ProgramTraces

    script, *arguments = program
    if sum([first > 1, call is not None, every is not None]) > 1:
        raise FwdtraceError("--first, --call and --every are three ways to choose calls; give one of them")
    codes = codes_of(fail_on)
    if output is not None:
        check_files([output])
    if not module and not os.path.isfile(script):
        raise FwdtraceError(f"{script}: there is no such file; name a Python file, or -m MODULE")
    file = output.absolute() if output is not None else None
    ranks = ranks_of(os.environ)
    files = None
    if ranks is not None:
        name = script.rpartition(".")[2] if module else Path(script).stem
        files = _rank_files(file or Path(f"{name}.json").absolute())
        file = _begun(files, ranks.own)
    shown = _Reporting(depth, not no_fold, output is None, codes, ranks, files)

    from fwdtrace.program.wanted import Wanted
    from fwdtrace.program.watch import Kept, Watch
    from fwdtrace.recorder.notes import Options

    traces = ProgramTraces(file, lambda trace, file: _save(trace, file, shown))
    kept_calls = 0

    def keep(kept: Kept) -> bool:
        nonlocal kept_calls
        kept_calls += 1
        traces.add(kept.root, kept.class_name, kept.number, kept.trace)
        return stop_after is not None and kept_calls >= stop_after

    def at_end() -> None:
        watch.end()
        if ranks is not None and files is not None:
            files.end(ranks.own)
        _report(traces, shown)

    def killed() -> None:
        watch.keep_what_is_open()
        if ranks is not None and files is not None:
            files.end(ranks.own)
        else:
            _report(traces, shown)

    watch = Watch(Wanted(first, call, every, model), Options(ops, check_finite, stats), keep)
    watch.begin()
    os.register_at_fork(before=watch.before_fork, after_in_parent=watch.after_fork, after_in_child=watch.end_in_child)
    at_kill(killed)
    try:
        (run_module if module else run_script)(script, arguments, at_end)
    except SystemExit as end:
        if end.code not in (None, 0):
            raise
    if codes:
        _wait_for_threads()  # whose calls count too
    fail_if_found((finding for trace in traces.by_key.values() for finding in trace.findings), codes)


@dataclass(frozen=True)
class _Reporting:
    """How traces are shown, and whether at all."""

    depth: int | None
    fold: bool
    on_stderr: bool
    codes: set[str]
    ranks: Ranks | None
    files: RankFiles | None


def _rank_files(file: Path) -> RankFiles:
    suffix = ".trace.json" if file.name.endswith(".trace.json") else file.suffix
    return RankFiles(file.name.removesuffix(suffix), suffix, file.parent)


def _begun(files: RankFiles, rank: int) -> Path:
    try:
        return files.begin(rank)
    except OSError as error:
        raise FwdtraceError(f"-o: no trace can be written to {files.folder}: {error.strerror}") from None


def _wait_for_threads() -> None:
    """Wait for the threads that Python itself waits for before it ends."""
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()


def _save(trace: Trace, file: Path, shown: _Reporting) -> bool:
    try:
        save_as_suffix(trace, file, Shown(shown.depth, shown.fold), width=80)
    except OSError as error:  # the program must not end because of us
        print(f"fwdtrace: {file.name} cannot be written: {error.strerror}", file=sys.stderr)
        return False
    return True


def _report(traces: ProgramTraces, shown: _Reporting) -> None:
    """What is said when the program has ended; of several ranks rank 0 speaks for all."""
    from fwdtrace.program.watch import MOST_ROOTS

    if shown.ranks is not None and shown.ranks.own != 0:
        return
    if not traces.by_key:
        print("fwdtrace: no call was kept: no module with parameters was called as often as asked", file=sys.stderr)
    elif shown.on_stderr:
        _print(traces, shown)
    if shown.on_stderr is False and traces.saved:
        names = ", ".join(file.name for file in traces.saved.values())
        print(f"fwdtrace: saved {names}", file=sys.stderr)
    told = list(traces.by_key.values())
    if len({root for root, _ in traces.by_key}) == MOST_ROOTS:
        print(f"fwdtrace: {MOST_ROOTS} models are kept, the most there can be; --model PATH names one", file=sys.stderr)
    if shown.ranks is not None and shown.files is not None:
        told += _report_ranks(shown.files, shown.ranks)
    annotate((finding for trace in told for finding in trace.findings), shown.codes)


def _print(traces: ProgramTraces, shown: _Reporting) -> None:
    from rich.console import Console

    from fwdtrace.render.tree import print_tree

    console = Console(
        stderr=True, color_system=None if os.environ.get("NO_COLOR") else "auto", markup=False, highlight=False
    )
    # One tree for all ranks; the calls of several models one after the other.
    for key in sorted(traces.by_key):
        print_tree(traces.by_key[key], console, depth=shown.depth, fold=shown.fold)
        console.print()


def _report_ranks(files: RankFiles, ranks: Ranks) -> list[Trace]:
    """Say where the ranks of this machine differ; the traces of all of them."""
    from fwdtrace.program.ranks import rank_report
    from fwdtrace.trace.read import load_trace

    if files.suffix != ".json":
        print("fwdtrace: where the ranks differ is told of .json files alone", file=sys.stderr)
        return []
    for rank in files.wait(ranks.near):
        print(f"fwdtrace: rank {rank} has not ended; this is what it has made so far", file=sys.stderr)
    found: dict[int, dict[str, Trace]] = {rank: {} for rank in range(ranks.near)}
    for rank in found:
        for part, file in files.of(rank).items():
            try:
                found[rank][part] = load_trace(file)
            except TraceFileError as error:
                print(f"fwdtrace: {error}", file=sys.stderr)
    for line in rank_report(found):
        print(f"fwdtrace: {line}", file=sys.stderr)
    return [trace for parts in found.values() for trace in parts.values()]
