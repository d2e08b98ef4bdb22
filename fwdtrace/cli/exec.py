"""`fwdtrace exec`: run an unmodified program and record the calls of its models, under torchrun too."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fwdtrace.cli.fail_on import AskedToFail, annotate, codes_of
from fwdtrace.cli.options import Chosen, FailOn, Measured, Shown
from fwdtrace.cli.results import check_files, check_values_file, print_trace, save_as_suffix
from fwdtrace.cli.terminal import stderr_console, to_stderr
from fwdtrace.errors import FwdtraceError
from fwdtrace.trace.text import listed

if TYPE_CHECKING:
    from fwdtrace.program.observed import ObservedProgram
    from fwdtrace.program.rank_files import Ranks
    from fwdtrace.trace import Trace

WIDTH = 80
"""The columns of a text file: a program has no terminal of its own to fit."""


def exec(
    context: typer.Context,
    measured: Measured,
    shown: Shown,
    chosen: Chosen,
    program: Annotated[
        list[str], typer.Argument(metavar="SCRIPT [ARGS]...", help="A Python file, and all that it is given.")
    ],
    module: Annotated[bool, typer.Option("-m", help="SCRIPT is the name of a module, as in python -m.")] = False,
    output: Annotated[
        list[Path] | None,
        typer.Option("-o", "--output", metavar="FILE", help="Save there instead of showing on stderr; repeatable."),
    ] = None,
    fail_on: FailOn = "",
) -> None:
    """Run a program as Python would, and show the first call of each of its models.

    Everything after SCRIPT is the script's. Its output stays its own; the calls are shown on stderr when it has ended.

    Example: fwdtrace exec -o first.json train.py --lr 1e-3
    """
    ways = {"--first": chosen.first, "--call": chosen.call, "--every": chosen.every, "--train": chosen.train or None}
    given = [name for name, value in ways.items() if value is not None]
    if len(given) > 1:
        raise FwdtraceError(f"{listed(given)} are different ways to choose calls; give one of them")
    codes = codes_of(fail_on)
    files = output or []
    check_files(files)
    check_values_file(measured.save_values)
    script = program[0]
    if not module and script != "-" and not os.path.exists(script):
        raise FwdtraceError(f"{script}: there is no such file; name a Python file, or -m MODULE")
    from fwdtrace.program.observed import Program
    from fwdtrace.program.python import become, run_below

    paths = [str(file.absolute()) for file in files]
    values = str(measured.save_values.absolute()) if measured.save_values is not None else None
    measured = replace(measured, save_values=None, costs=measured.costs or shown.sort == "flops")
    wanted = {**asdict(measured), "save_values": values, **asdict(chosen)}
    settings = {
        "program": asdict(Program(script, module, files=paths, **wanted)),
        "shown": asdict(shown),
        "codes": sorted(codes),
        "behind": [] if module else _behind(program, context),
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
        _report(observed, None if program.files else shown, codes)
        for option in settings["behind"]:
            _say(f"{option} stands behind {program.script} and went to it; what is meant for fwdtrace stands before it")

    return ObservedProgram(program, lambda trace, file: _save(trace, file, shown), report, _say)


def _behind(program: list[str], context: typer.Context) -> list[str]:
    """The options of ours that stand behind the script, if the text of the script has no such option itself."""
    ours = {name for parameter in context.command.params for name in parameter.opts if name.startswith("--")}
    given = {argument.partition("=")[0] for argument in program[1:]} & ours
    if not given:
        return []
    try:
        text = Path(program[0]).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return sorted(name for name in given if name.strip("-").replace("-", "_") not in text.replace("-", "_"))


def _save(trace: Trace, file: Path, shown: Shown) -> bool:
    try:
        save_as_suffix(trace, file, shown, width=WIDTH)
    except OSError as error:  # the program must not end because of us
        _say(f"{file.name} cannot be written: {error.strerror}")
        return False
    return True


def _report(observed: ObservedProgram, shown: Shown | None, codes: set[str]) -> None:
    """Say what was recorded, and show the trees or name the files; then where the ranks differ."""
    from fwdtrace.render.program import model_lines

    crashed = observed.crash()
    traces = observed.traces
    if not traces:
        _say(f"no call was kept: {observed.why_nothing_was_kept()}")
    lines = model_lines(observed.by_model)
    for line in lines:
        _say(line)
    if shown is not None and any(trace is not crashed for trace in traces):
        _print(observed, shown, len(lines), crashed)
    if observed.files and (observed.program.files or observed.ranks is not None):
        _say(f"saved {', '.join(_of_all_ranks(file, observed.ranks) for file in observed.files)}")
    if observed.is_full:
        _say(f"{observed.model_count} models are kept, the most there can be; --model PATH names one")
    ranks = observed.compare_ranks()
    if ranks is not None:
        for line in ranks.lines:
            _say(line)
        traces += ranks.traces
    if crashed is not None:
        _print_crash(crashed)
    annotate((finding for trace in traces for finding in trace.findings), codes)


def _print(observed: ObservedProgram, shown: Shown, beside: int, crashed: Trace | None) -> None:
    from fwdtrace.render.program import ROOM_FOR_CRASH, print_program

    console = stderr_console()
    console.print()
    if shown.source or shown.sort:
        for trace in observed.traces:
            print_trace(trace, shown, console)
            console.print()
        return
    models = [(called, [trace for trace in traces if trace is not crashed]) for called, traces in observed.by_model]
    beside += 2 + (ROOM_FOR_CRASH if crashed is not None else 0)
    left_out = print_program(models, console, depth=shown.depth, fold=shown.fold, beside=beside)
    if left_out:
        _say(left_out)


def _print_crash(trace: Trace) -> None:
    """Show the call that raised, if it has not been shown: the last lines on the screen are the cause."""
    from fwdtrace.render.program import print_crash

    print_crash(trace, stderr_console())


def _of_all_ranks(file: Path, ranks: Ranks | None) -> str:
    """The file as it is named from here; if each rank of this machine has one, the first and the last of them."""
    if ranks is None or ranks.near == 1:
        return _near(file)
    own, last = f".rank{ranks.own}", f".rank{ranks.own + ranks.near - 1}"
    return f"{_near(file)}, … {file.name.replace(own, last, 1)}"


def _near(file: Path) -> str:
    """The file as it is named from here, if it is below the folder that the program ended in."""
    try:
        here = Path.cwd()
    except OSError:  # the program has deleted it
        return str(file)
    return str(file.relative_to(here)) if file.is_relative_to(here) else str(file)


def _say(text: str) -> None:
    to_stderr(f"fwdtrace: {text}")
