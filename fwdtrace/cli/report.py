"""What `fwdtrace exec` says of a program, in the process of the program, when it has ended."""

from __future__ import annotations

import contextlib
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from fwdtrace.cli.fail_on import annotate
from fwdtrace.cli.terminal import stderr_console, to_stderr
from fwdtrace.errors import FwdtraceError
from fwdtrace.program.children import lines_of_children, named, processes_known
from fwdtrace.program.endings import an_error_ended_it
from fwdtrace.trace.text import plural

if TYPE_CHECKING:
    from fwdtrace.program.observed import ObservedProgram
    from fwdtrace.program.rank_files import Ranks
    from fwdtrace.program.ranks import RankReport
    from fwdtrace.trace import Trace

MOST_FILES = 4
WIDTH = 80
"""The columns of a text file: a program has no terminal of its own to fit."""


def observed_program(settings: dict[str, Any]) -> ObservedProgram:
    """The program that this process runs, with the settings that `exec` has made of its options."""
    from fwdtrace.program.observed import ObservedProgram
    from fwdtrace.program.program import Program

    program, codes = Program(**settings["program"]), set(settings["codes"])

    def report(observed: ObservedProgram) -> None:
        if observed.is_child:
            observed.leave_word(_lines_of_models(observed))
            return
        _report(observed, settings["shown"], codes)
        for option in settings["behind"]:
            _say(f"{option} stands behind {program.script} and went to it; what is meant for fwdtrace stands before it")

    def save(trace: Trace, file: Path) -> bool:
        return _save(trace, file, settings["shown"])

    return ObservedProgram(program, save, report, _say, settings.get("child", False))


def _save(trace: Trace, file: Path, shown: dict[str, Any]) -> bool:
    from fwdtrace.cli.results import save_as_suffix

    try:
        save_as_suffix(trace, file, _shown(shown), width=WIDTH)
    except OSError as error:  # the program must not end because of us
        _say(f"{file.name} cannot be written: {error.strerror}")
        return False
    return True


def _shown(settings: dict[str, Any]) -> Any:
    """The `Shown` of the options, without the class, which takes a tenth of a second to import."""
    return SimpleNamespace(**settings)


def _report(observed: ObservedProgram, shown: dict[str, Any], codes: set[str]) -> None:
    """Say what was recorded, and show the trees or name the files; then where the ranks differ."""
    crashed = observed.crash
    traces = observed.traces
    if traces:
        _show(observed, shown, crashed)
    elif not observed.children:
        nothing = "no event" if observed.program.wanted.alone else "no call was kept"
        _say(f"{nothing}: {observed.why_nothing_was_kept()}")
    if observed.caught:
        from fwdtrace.render.kept_calls import caught_lines

        for line in caught_lines(observed.caught):
            _say(line)
    if observed.files and (observed.program.files or observed.ranks is not None):
        _say(f"saved {', '.join(_of_all_ranks(file, observed.ranks) for file in observed.files)}")
    if observed.is_full:
        _say(f"{observed.model_count} models are kept, the most there can be; --model PATH names one")
    if observed.saved_step is not None:
        _say(observed.saved_step)
    crash_of_child = _report_children(observed)
    ranks = observed.compare_ranks()
    if ranks is not None:
        for line in ranks.lines if traces else [*ranks.lines, *_events_elsewhere(ranks)]:
            _say(line)
        traces += tuple(ranks.traces.values())
    crashed = crashed or crash_of_child
    if crashed is not None:
        _print_crash(crashed, shown)
    elif observed.raised_elsewhere is not None:
        _say(observed.raised_elsewhere)
    recorded = observed.program.backward and observed.program.call is not None
    if observed.backward_raised and crashed is None and not recorded:
        from fwdtrace.render.kept_calls import how_to_record_backward

        _say(how_to_record_backward([called for called, _ in observed.by_model]))
    annotate((finding for trace in traces for finding in trace.findings), codes)


def _events_elsewhere(ranks: RankReport) -> list[str]:
    """What happened on other ranks, where nothing did on this one, and the files that tell of it."""
    from fwdtrace.render.kept_calls import event_lines_of_ranks

    events = {file: trace for file, trace in ranks.traces.items() if trace.run.event is not None}
    saved = [f"saved {_listed_files([_near(file) for file in events])}"] if events else []
    return [*event_lines_of_ranks(list(events.values())), *saved]


def _report_children(observed: ObservedProgram) -> Trace | None:
    """A line for each model of the processes that the program has started; the call that raised in one of them."""
    for line in lines_of_children(observed.children):
        _say(line)
    files = [_near(Path(file)) for child in observed.children for file in child.files]
    if files:
        _say(f"saved {_listed_files(files)}")
    if observed.program.children is None and observed.traces and (started := processes_known()):
        _say(
            f"it started {plural(started, 'process', 'processes')}, whose calls are not traced; --children follows them"
        )
    raised = [child for child in observed.children if child.crash is not None]
    if not raised:
        return None
    _say(f"{named(raised)} raised{'' if len(raised) == 1 else f'; below is the call of child {raised[0].number}'}")
    from fwdtrace.trace.read import load_trace

    with contextlib.suppress(FwdtraceError):
        return load_trace(Path(str(raised[0].crash)))
    return None


def _lines_of_models(observed: ObservedProgram) -> list[str]:
    from fwdtrace.render.kept_calls import model_lines

    return model_lines(observed.by_model, observed.program.wanted.by_number)


def _show(observed: ObservedProgram, settings: dict[str, Any], crashed: Trace | None) -> None:
    """A line for each model, and unless they are saved, the trees of all that was kept but of what raised."""
    from fwdtrace.render.kept_calls import event_lines

    lines = _lines_of_models(observed) + event_lines(observed.events, bool(observed.program.files))
    if len(observed.events) >= observed.program.keep:
        lines.append(f"that is --keep {observed.program.keep}, so no further events were looked for")
    for line in lines:
        _say(line)
    traces = [trace for trace in observed.traces if trace is not crashed]
    if observed.program.files or not traces:
        return
    from fwdtrace.render.program import SCREEN, SCREEN_WITH_TRACEBACK, crash_lines, print_event, print_program

    shown = _shown(settings)
    console = stderr_console(shown.color)
    if not console.is_jupyter:  # which shows what is printed apart from what is said
        console.print()
    if shown.source or shown.sort:
        from fwdtrace.cli.results import print_trace

        for trace in traces:
            print_trace(trace, shown, console)
            console.print()
        return
    models = [(called, [trace for trace in kept if trace is not crashed]) for called, kept in observed.by_model]
    beside = len(lines) + 2
    if crashed is not None:
        beside += len(crash_lines(crashed, console))
    screen = SCREEN_WITH_TRACEBACK if crashed is not None or an_error_ended_it() else SCREEN
    view = {"depth": shown.depth, "fold": shown.fold, "columns": shown.column_keys, "only": shown.patterns}
    left_out = print_program(models, console, beside=beside, screen=screen, **view)
    if left_out:
        _say(left_out)
    for trace in observed.events[:1]:
        print_event(trace, console, room=screen - beside if screen < SCREEN else SCREEN, **view)


def _print_crash(trace: Trace, shown: dict[str, Any]) -> None:
    """Show the call that raised, if it has not been shown: the last lines on the screen are the cause."""
    from fwdtrace.render.program import print_crash

    print_crash(trace, stderr_console(shown["color"]))


def _listed_files(files: list[str]) -> str:
    """The files, as many as one line has room for."""
    shown = files if len(files) <= MOST_FILES else [*files[: MOST_FILES - 1], f"… {files[-1]}"]
    return ", ".join(shown)


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
