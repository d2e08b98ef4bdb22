"""`fwdtrace exec`: run an unmodified program and record the calls of its models, under torchrun too."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fwdtrace.cli.fail_on import AskedToFail, annotate, codes_of
from fwdtrace.cli.options import CheckFinite, Chosen, Columns, Depth, FailOn, NoFold, Only, Ops, Shown, Stats
from fwdtrace.cli.results import check_files, save_as_suffix
from fwdtrace.cli.terminal import stderr_console, to_stderr
from fwdtrace.errors import FwdtraceError

if TYPE_CHECKING:
    from fwdtrace.program.observed import ObservedProgram
    from fwdtrace.trace import Trace

WIDTH = 80
"""The columns of a text file: a program has no terminal of its own to fit."""


def exec(
    chosen: Chosen,
    program: Annotated[
        list[str], typer.Argument(metavar="SCRIPT [ARGS]...", help="A Python file, and all that it is given.")
    ],
    module: Annotated[bool, typer.Option("-m", help="SCRIPT is the name of a module, as in python -m.")] = False,
    ops: Ops = False,
    check_finite: CheckFinite = False,
    stats: Stats = False,
    depth: Depth = None,
    no_fold: NoFold = False,
    columns: Columns = None,
    only: Only = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Save there instead of printing on stderr.")
    ] = None,
    fail_on: FailOn = "",
) -> None:
    """Run a program as Python would, and show the first call of each of its models.

    Everything after SCRIPT is the script's. Its output stays its own; the calls are shown on stderr when it has ended.

    Example: fwdtrace exec -o first.json train.py --lr 1e-3
    """
    if sum([chosen.first > 1, chosen.call is not None, chosen.every is not None]) > 1:
        raise FwdtraceError("--first, --call and --every are three ways to choose calls; give one of them")
    codes = codes_of(fail_on)
    check_files([output] if output is not None else [])
    script = program[0]
    if not module and script != "-" and not os.path.exists(script):
        raise FwdtraceError(f"{script}: there is no such file; name a Python file, or -m MODULE")
    from fwdtrace.program.observed import Program
    from fwdtrace.program.python import become, run_below

    file = str(output.absolute()) if output is not None else None
    settings = {
        "program": asdict(Program(script, module, ops, check_finite, stats, file, **asdict(chosen))),
        "shown": asdict(Shown(columns=columns, only=only, depth=depth, no_fold=no_fold)),
        "codes": sorted(codes),
        "observed_by": f"{__name__}:{observed_program.__name__}",
    }
    observed_program(settings)  # what cannot be begun is refused before anything runs
    if not codes:
        become(program, module, settings)
    status, found = run_below(program, module, settings)
    if status == 0 and found:
        raise AskedToFail(f"failing as --fail-on asks: {found}")
    sys.exit(status)


def observed_program(settings: dict[str, Any]) -> ObservedProgram:
    """The program that this process runs, with the settings that `exec` has made of its options."""
    from fwdtrace.program.observed import ObservedProgram, Program

    program, shown, codes = Program(**settings["program"]), Shown(**settings["shown"]), set(settings["codes"])

    def report(observed: ObservedProgram) -> None:
        _report(observed, shown if program.file is None else None, codes)

    return ObservedProgram(program, lambda trace, file: _save(trace, file, shown), report)


def _save(trace: Trace, file: Path, shown: Shown) -> bool:
    try:
        save_as_suffix(trace, file, shown, width=WIDTH)
    except OSError as error:  # the program must not end because of us
        _say(f"{file.name} cannot be written: {error.strerror}")
        return False
    return True


def _report(observed: ObservedProgram, shown: Shown | None, codes: set[str]) -> None:
    """Say what was recorded: the trees, if they are to be shown, else the files; then where the ranks differ."""
    traces = observed.traces
    if not traces:
        _say("no call was kept: no module with parameters was called as often as asked")
    elif shown is not None:
        _print(traces, shown)
    elif observed.files:
        _say(f"saved {', '.join(file.name for file in observed.files)}")
    if observed.is_full:
        _say(f"{observed.model_count} models are kept, the most there can be; --model PATH names one")
    ranks = observed.compare_ranks()
    if ranks is not None:
        for line in ranks.lines:
            _say(line)
        traces += ranks.traces
    annotate((finding for trace in traces for finding in trace.findings), codes)


def _print(traces: tuple[Trace, ...], shown: Shown) -> None:
    from fwdtrace.render.tree import print_tree

    console = stderr_console()
    for trace in traces:
        print_tree(trace, console, depth=shown.depth, fold=shown.fold, columns=shown.column_keys, only=shown.patterns)
        console.print()


def _say(text: str) -> None:
    to_stderr(f"fwdtrace: {text}")
