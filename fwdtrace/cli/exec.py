"""`fwdtrace exec`: run an unmodified program and record the calls of its models, under torchrun too."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fwdtrace.cli.fail_on import FailOn, annotate, codes_of
from fwdtrace.cli.options import Depth, NoFold
from fwdtrace.cli.results import AskedToFail, Shown, check_files, save_as_suffix
from fwdtrace.errors import FwdtraceError, TraceFileError
from fwdtrace.program.endings import at_kill
from fwdtrace.program.python import become, run_below
from fwdtrace.program.rank_files import RankFiles, Ranks, ranks_of
from fwdtrace.program.traces import ProgramTraces

if TYPE_CHECKING:
    from fwdtrace.program.watch import Kept, Watch
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
    if sum([first > 1, call is not None, every is not None]) > 1:
        raise FwdtraceError("--first, --call and --every are three ways to choose calls; give one of them")
    codes = codes_of(fail_on)
    if output is not None:
        check_files([output])
    if not module and program[0] != "-" and not os.path.exists(program[0]):
        raise FwdtraceError(f"{program[0]}: there is no such file; name a Python file, or -m MODULE")
    settings = {
        **{"program": program[0], "module": module, "first": first, "call": call, "every": every, "model": model},
        **{"stop_after": stop_after, "ops": ops, "check_finite": check_finite, "stats": stats, "depth": depth},
        **{"fold": not no_fold, "output": output and str(output.absolute()), "codes": sorted(codes)},
    }
    startup = Path(__file__).parents[1] / "startup"
    if not codes:
        become(program, module, startup, settings)
    status, found = run_below(program, module, startup, settings)
    if status == 0 and found:
        raise AskedToFail(f"failing as --fail-on asks: {found}")
    sys.exit(status)


class Watched:
    """What is kept of the program that this process runs, with the settings that `exec` has made of its options."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = settings
        output, script = settings["output"], settings["program"]
        file = Path(output) if output is not None else None
        self._ranks = ranks_of(os.environ)
        self._files = None
        if self._ranks is not None:
            name = script.rpartition(".")[2] if settings["module"] else Path(script).stem
            self._files = _rank_files(file or Path(f"{name}.json").absolute())
            file = _begun(self._files, self._ranks.own)
        codes = set(settings["codes"])
        self._shown = _Reporting(settings["depth"], settings["fold"], output is None, codes, self._ranks, self._files)
        self._traces = ProgramTraces(file, lambda trace, file: _save(trace, file, self._shown))
        self._kept_calls = 0
        self._watch: Watch | None = None

    def begin(self) -> None:
        """Watch the program from now on; torch has been imported."""
        from fwdtrace.program.wanted import Wanted
        from fwdtrace.program.watch import Watch
        from fwdtrace.recorder.notes import Options

        given = self._settings
        wanted = Wanted(given["first"], given["call"], given["every"], given["model"])
        watch = Watch(wanted, Options(given["ops"], given["check_finite"], given["stats"]), self._keep)
        self._watch = watch
        watch.begin()
        os.register_at_fork(
            before=watch.before_fork, after_in_parent=watch.after_fork, after_in_child=watch.end_in_child
        )
        at_kill(self._killed)

    def end(self) -> None:
        """Tell what was kept; the program has ended."""
        if self._watch is not None:
            self._watch.end()
        if self._ranks is not None and self._files is not None:
            self._files.end(self._ranks.own)
        _report(self._traces, self._shown)
        found = {finding.code for trace in self._traces.by_key.values() for finding in trace.findings}
        if found := found & self._shown.codes:
            os.write(self._settings["tell"], ", ".join(sorted(found)).encode())

    def _killed(self) -> None:
        if self._watch is not None:
            self._watch.keep_what_is_open()
        if self._ranks is not None and self._files is not None:
            self._files.end(self._ranks.own)
        else:
            _report(self._traces, self._shown)

    def _keep(self, kept: Kept) -> bool:
        self._kept_calls += 1
        self._traces.add(kept.root, kept.class_name, kept.number, kept.trace)
        stop_after = self._settings["stop_after"]
        return stop_after is not None and self._kept_calls >= stop_after


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
    told = list(traces.by_key.values())
    if traces.by_key:  # and torch is there
        from fwdtrace.program.watch import MOST_ROOTS
    if traces.by_key and len({root for root, _ in traces.by_key}) == MOST_ROOTS:
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
