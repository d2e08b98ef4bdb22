"""`fwdtrace exec`: run an unmodified program and record the calls of its models, under torchrun too."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fwdtrace.cli.fail_on import FailOn, codes_of, fail_if_found
from fwdtrace.cli.options import Depth, NoFold
from fwdtrace.cli.results import Shown, check_files, save_as_suffix
from fwdtrace.errors import FwdtraceError, TraceFileError

if TYPE_CHECKING:
    from fwdtrace.program_traces import ProgramTraces
    from fwdtrace.trace import Trace

WAIT_FOR_RANKS = 10.0
"""Seconds that rank 0 waits at its end for the traces of the others."""


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
    from fwdtrace.program import at_kill, run_module, run_script
    from fwdtrace.program_traces import ProgramTraces, with_parts

    script, *arguments = program
    if sum([first > 1, call is not None, every is not None]) > 1:
        raise FwdtraceError("--first, --call and --every are three ways to choose calls; give one of them")
    codes = codes_of(fail_on)
    if output is not None:
        check_files([output])
    if not module and not os.path.isfile(script):
        raise FwdtraceError(f"{script}: there is no such file; name a Python file, or -m MODULE")
    ranks = _ranks()
    file = output.absolute() if output is not None else None
    if ranks is not None:
        name = script.rpartition(".")[2] if module else Path(script).stem
        file = with_parts(file or Path(f"{name}.json").absolute(), f"rank{ranks.own}")
        file.unlink(missing_ok=True)  # of a run before
    shown = _Reporting(depth, not no_fold, output is None, ranks)

    from fwdtrace.recorder.open_calls import Options
    from fwdtrace.recorder.watch import Kept, Wanted, Watch

    traces = ProgramTraces(file, lambda trace, file: _save(trace, file, shown))
    kept_calls = 0

    def keep(kept: Kept) -> bool:
        nonlocal kept_calls
        kept_calls += 1
        traces.add(kept.root, kept.class_name, kept.number, kept.trace)
        return stop_after is not None and kept_calls >= stop_after

    def at_end() -> None:
        watch.end()
        _report(traces, shown)

    def killed() -> None:
        watch.keep_what_is_open()
        if ranks is None:
            _report(traces, shown)

    watch = Watch(Wanted(first, call, every, model), Options(ops, check_finite, stats), keep)
    watch.begin()
    os.register_at_fork(after_in_child=watch.end)
    at_kill(killed)
    try:
        (run_module if module else run_script)(script, arguments, at_end)
    except SystemExit as end:
        if end.code not in (None, 0):
            raise
    fail_if_found((finding for trace in traces.by_key.values() for finding in trace.findings), codes)


@dataclass(frozen=True)
class _Ranks:
    """The place of this process among those that torchrun has started; `near` are those that share its machine."""

    own: int
    near: int


@dataclass(frozen=True)
class _Reporting:
    """How traces are shown, and whether at all."""

    depth: int | None
    fold: bool
    on_stderr: bool
    ranks: _Ranks | None


def _ranks() -> _Ranks | None:
    size = os.environ.get("WORLD_SIZE", "1")
    if "RANK" not in os.environ or not size.isdigit() or size == "1":
        return None
    return _Ranks(int(os.environ["RANK"]), int(os.environ.get("LOCAL_WORLD_SIZE", size)))


def _save(trace: Trace, file: Path, shown: _Reporting) -> None:
    try:
        save_as_suffix(trace, file, Shown(shown.depth, shown.fold), width=80)
    except OSError as error:  # the program must not end because of us
        print(f"fwdtrace: {file.name} cannot be written: {error.strerror}", file=sys.stderr)


def _report(traces: ProgramTraces, shown: _Reporting) -> None:
    """What is said when the program has ended; of several ranks rank 0 speaks for all."""
    if shown.ranks is not None and shown.ranks.own != 0:
        return
    if not traces.by_key:
        print("fwdtrace: no call was kept: no module with parameters was called as often as asked", file=sys.stderr)
    elif shown.on_stderr:
        _print(traces, shown)
    if shown.on_stderr is False and traces.files:
        names = ", ".join(file.name for file in traces.files.values())
        print(f"fwdtrace: saved {names}", file=sys.stderr)
    if shown.ranks is not None and traces.file is not None:
        _report_ranks(traces.file, shown.ranks)


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


def _report_ranks(own: Path, ranks: _Ranks) -> None:
    from fwdtrace.ranks import rank_report
    from fwdtrace.trace_file import load_trace

    files = {rank: own.with_name(own.name.replace(".rank0", f".rank{rank}")) for rank in range(ranks.near)}
    if own.suffix != ".json" or own.name.endswith(".trace.json"):
        return
    until = time.monotonic() + WAIT_FOR_RANKS
    while not all(file.exists() for file in files.values()) and time.monotonic() < until:
        time.sleep(0.05)
    traces, missing = {}, []
    for rank, file in files.items():
        try:
            traces[rank] = load_trace(file)
        except TraceFileError:
            missing.append(rank)
    for line in rank_report(traces, missing):
        print(f"fwdtrace: {line}", file=sys.stderr)
