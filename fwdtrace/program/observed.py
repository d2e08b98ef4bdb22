"""A program under watch, from its beginning to its end: what is kept, where it is saved, and when it is reported."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from fwdtrace.errors import FwdtraceError
from fwdtrace.program.endings import at_kill
from fwdtrace.program.program import Program
from fwdtrace.program.rank_files import RankFiles, ranks_of
from fwdtrace.program.ranks import RankReport, compare_ranks
from fwdtrace.program.reasons import why_nothing_was_kept
from fwdtrace.program.traces import EVENTS, Key, ProgramTraces, Values, split_suffix, with_parts
from fwdtrace.program.wanted import MOST_ROOTS, Round, Wanted
from fwdtrace.trace import Trace

if TYPE_CHECKING:
    from fwdtrace.program.kept import Kept
    from fwdtrace.program.watch import Watch
    from fwdtrace.trace.called import Called


class ObservedProgram:
    """One run of a program under watch.

    At its end, `crash` is the call that raised the error that ended it; None if there was none, or it cannot be told.

    `save` writes a trace into a file, each time that a call has ended; whether it could. `report` is called when the
    program has ended or is about to be killed; with several ranks, only in the process of rank 0, and only at the end.
    `say` tells the user of trouble. FwdtraceError if no file can be begun.
    """

    def __init__(
        self,
        program: Program,
        save: Callable[[Trace, Path], bool],
        report: Callable[[ObservedProgram], None],
        say: Callable[[str], None],
    ) -> None:
        self.program = program
        looks, alone = program.looks_for_nonfinite, program.events_alone
        self._wanted = Wanted(program.first, program.call, program.every, program.train, program.model, looks, alone)
        self._report = report
        self._say = say
        self.ranks = ranks_of(os.environ)
        self._rank_files: RankFiles | None = None
        files = [Path(file).absolute() for file in program.files]
        if self.ranks is not None:
            files = files or [Path(f"{program.name}.json").absolute()]
            files.sort(key=lambda file: split_suffix(file)[1] != ".json")  # the ranks are compared by such files
            self._rank_files = _rank_files(files[0])
            own = self.ranks.own
            files = [_begun(self._rank_files, own), *(with_parts(file, f"rank{own}") for file in files[1:])]
        values = Path(program.save_values).absolute() if program.save_values is not None else None
        if values is not None and self.ranks is not None:
            values = with_parts(values, f"rank{self.ranks.own}")
        self._traces = ProgramTraces(files, save, values, self._save_values, program.events_alone)
        self._kept_calls = 0
        self._watch: Watch | None = None
        self.crash: Trace | None = None
        self.backward_raised = False

    @property
    def traces(self) -> tuple[Trace, ...]:
        """What was recorded, by model and call."""
        return tuple(self._traces.by_key[key] for key in sorted(self._traces.by_key, key=_place))

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that could be saved, in order of their first calls."""
        return tuple(file for files in self._traces.saved.values() for file in files)

    @property
    def events(self) -> tuple[Trace, ...]:
        """The calls that were kept for what happened in them, in order, without the one that raised."""
        traces = self._traces.by_key.items()
        return tuple(trace for (root, _), trace in traces if root == EVENTS and trace is not self.crash)

    @property
    def by_model(self) -> list[tuple[Called, list[Trace]]]:
        """The models of which calls were kept: how often they were called, and the traces by call."""
        called = self._watch.called() if self._watch is not None else []
        traces = self._traces.by_key
        return [
            (each, [traces[key] for key in sorted(traces, key=_place) if key[0] == number])
            for number, each in enumerate(called)
        ]

    def why_nothing_was_kept(self) -> str:
        """The reason, if no call was kept."""
        if self._watch is None:
            return why_nothing_was_kept(self._wanted, (), ())
        return self._watch.why_nothing_was_kept()

    @property
    def model_count(self) -> int:
        """How many models have a call that was recorded."""
        return len({root for root, _ in self._traces.by_key})

    @property
    def is_full(self) -> bool:
        """Whether so many models were kept that further ones were left alone."""
        return self.model_count == MOST_ROOTS

    def begin(self) -> None:
        """Watch all that this process runs from now on, but no process that it forks; torch has been imported."""
        from fwdtrace.program.watch import Watch
        from fwdtrace.recorder.notes import Options

        program = self.program
        options = Options(program.ops, program.check_finite, program.stats, program.costs, program.backward)
        max_bytes = program.max_bytes if program.save_values is not None else None
        self._watch = watch = Watch(self._wanted, options, self._keep, max_bytes, self._keep_event, program.last)
        watch.begin()
        os.register_at_fork(
            before=watch.before_fork, after_in_parent=watch.after_fork, after_in_child=watch.end_in_child
        )
        at_kill(self._killed)

    def end(self) -> None:
        """Watch nothing any more, and report: the program has ended, whether it has imported torch or not."""
        if self._watch is not None:
            error = _raised_by_backward()
            self.backward_raised = error is not None
            self._watch.end(error)
        self._traces.end()
        self.crash = self._explained_crash()
        self._end_rank()
        if self.ranks is None or self.ranks.own == 0:
            self._report(self)

    def compare_ranks(self) -> RankReport | None:
        """Wait for the other ranks of this machine and compare all of them; None if there is one process alone."""
        if self.ranks is None or self._rank_files is None:
            return None
        return compare_ranks(self._rank_files, self.ranks)

    def _explained_crash(self) -> Trace | None:
        """The call that raised the error that ended the program; it is saved, unless it was kept already."""
        if self._watch is None:
            return None
        from fwdtrace.program.crash import crash, explained, tells

        error = crash()
        if error is None:
            return None
        for trace in self.traces:
            if tells(trace, error):
                return self._with_fixes(self._watch, trace, error)
        explanation = None
        with contextlib.suppress(Exception):  # whatever the program's own objects do, it has its own traceback to show
            explanation = explained(error, self._watch.top)
            if explanation is None and self.backward_raised:
                explanation = self._explained_backward(self._watch, error)
        if explanation is not None:
            self._traces.add_event(explanation)
        return explanation

    def _explained_backward(self, watch: Watch, error: Exception) -> Trace | None:
        from fwdtrace.program.backward_again import explained_backward

        if self.ranks is not None or any(trace.backward_errors for trace in self.traces):
            return None  # the other ranks would have to take part, or the error is told
        kept = [(trace, watch.model(root)) for (root, _), trace in self._traces.by_key.items() if root >= 0]
        return explained_backward(error, [(trace, model) for trace, model in kept if model is not None])

    def _with_fixes(self, watch: Watch, trace: Trace, error: Exception) -> Trace:
        """The trace of a call that was kept and raised, with the fixes that work; it is saved once more with them."""
        from fwdtrace.trials.failed import with_fixes_for

        key = self._traces.key_of(trace)
        model = watch.model(key[0]) if key[0] >= 0 else None
        with_fixes = with_fixes_for(trace, model, error) if model is not None else trace
        if with_fixes is not trace:
            self._traces.put(key, with_fixes)
        return with_fixes

    def _save_values(self, values: Values, file: Path) -> str | None:
        from fwdtrace.compare.saved_numbers import save_values

        try:
            return save_values(values, file)
        except FwdtraceError as error:  # the program must not end because of us
            self._say(str(error))
            return None

    def _keep(self, kept: Kept) -> bool:
        self._kept_calls += 1
        self._traces.add(kept.root, kept.round, kept.trace, kept.values)
        return self._are_enough()

    def _keep_event(self, trace: Trace) -> bool:
        self._kept_calls += 1
        self._traces.add_event(trace)
        if len(self.events) >= self.program.keep and self._watch is not None:
            self._watch.look_no_more()
        return self._are_enough()

    def _are_enough(self) -> bool:
        stop_after = self.program.stop_after
        return stop_after is not None and self._kept_calls >= stop_after

    def _killed(self) -> None:
        if self._watch is not None:
            self._watch.keep_what_is_open()
        self._traces.end()
        self.crash = self._explained_crash()
        self._end_rank()
        if self.ranks is None:  # the other ranks are being killed too, and nobody waits for a report
            self._report(self)

    def _end_rank(self) -> None:
        if self.ranks is not None and self._rank_files is not None:
            self._rank_files.end(self.ranks.own)


def _place(key: Key) -> tuple[int, int, Round]:
    return key[0], key[1][1], key[1]  # "other" stands before "training"


def _rank_files(file: Path) -> RankFiles:
    name, suffix = split_suffix(file)
    return RankFiles(name, suffix, file.parent)


def _begun(files: RankFiles, rank: int) -> Path:
    try:
        return files.begin(rank)
    except OSError as error:
        raise FwdtraceError(f"-o: no trace can be written to {files.folder}: {error.strerror}") from None


def _raised_by_backward() -> BaseException | None:
    """The error that ended the program, if it came out of a backward pass."""
    from fwdtrace.program.crash import crash
    from fwdtrace.recorder.measures.backward_errors import raised_by_backward

    error = crash()
    return error if error is not None and raised_by_backward(error) else None
