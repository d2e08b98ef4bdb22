"""A program under watch, from its beginning to its end: what is kept, where it is saved, and when it is reported."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from fwdtrace.errors import FwdtraceError
from fwdtrace.program.children import Child, Children, forked, name_of_this_process
from fwdtrace.program.endings import an_error_ended_it
from fwdtrace.program.program import Program
from fwdtrace.program.python import without_collecting
from fwdtrace.program.rank_files import RankFiles, ranks_of
from fwdtrace.program.reasons import why_nothing_was_kept
from fwdtrace.program.traces import EVENTS, Key, ProgramTraces, Values, split_suffix, with_parts
from fwdtrace.program.wanted import MOST_ROOTS, Looks, Round, slow_factor
from fwdtrace.trace import Trace

if TYPE_CHECKING:
    from torch import nn

    from fwdtrace.program.kept import KeptCall
    from fwdtrace.program.ranks import RankReport
    from fwdtrace.program.watch import Watch
    from fwdtrace.trace.called import Called, Caught


class ObservedProgram:
    """One run of a program under watch.

    At its end, `crash` is the call that raised the error that ended it; None if there was none, or it is not known.
    `caught` has the errors that calls raised and the program caught.

    `save` writes a trace into a file, each time that a call has ended; whether it could. `report` is called when the
    program has ended or is about to be killed; with several ranks, only in the process of rank 0, and only at the end.
    `say` tells the user of trouble. FwdtraceError if no file can be begun.

    With `is_child`, it is a process that the program has started, and so it becomes in a process that is forked, if the
    program says that these are followed. Then `report` is called after each call too, and may use `leave_word`;
    `children` has what the children left, at the end of the first process.
    """

    def __init__(
        self,
        program: Program,
        save: Callable[[Trace, Path], bool],
        report: Callable[[ObservedProgram], None],
        say: Callable[[str], None],
        is_child: bool = False,
    ) -> None:
        self.program = program
        self._wanted = program.wanted
        self._report = report
        self._say = say
        self._save = save
        self._children = Children(Path(program.children)) if program.children is not None else None
        self.children: list[Child] = []
        self.is_child = is_child
        self.number: int | None = None
        self.ranks = ranks_of(os.environ)
        self._rank_files: RankFiles | None = None
        self._files = [Path(file).absolute() for file in program.files]
        self._values_file = Path(program.save_values).absolute() if program.save_values is not None else None
        if self.ranks is not None:
            self._name_after_rank(self.ranks.own)
        self._traces = self._new_traces()
        self._kept_calls = 0
        self._id = os.urandom(8).hex()
        self._watch: Watch | None = None
        self.crash: Trace | None = None
        self.caught: list[Caught] = []
        self.backward_raised = False
        self.raised_elsewhere: str | None = None

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
        """The calls that were kept for what happened in them, in order, without those that raised."""
        traces = self._traces.by_key.items()
        others = {id(self.crash), *(id(each.trace) for each in self.caught)}
        return tuple(trace for (root, _), trace in traces if root == EVENTS and id(trace) not in others)

    @property
    def by_model(self) -> list[tuple[Called, list[Trace]]]:
        """The models of which calls were kept: how often they were called, and the traces by call."""
        called = self._watch.called() if self._watch is not None else []
        traces = self._traces.by_key
        return [
            (each, [traces[key] for key in sorted(traces, key=_place) if key[0] == number])
            for number, each in enumerate(called)
        ]

    @property
    def saved_step(self) -> str | None:
        """What there is to say of the step that was to be saved; None if there is nothing."""
        return self._watch.saves.said if self._watch is not None and self._watch.saves is not None else None

    def why_nothing_was_kept(self) -> str:
        """The reason, if no call was kept."""
        return self._watch.why_nothing_was_kept() if self._watch else why_nothing_was_kept(self._wanted, (), ())

    @property
    def model_count(self) -> int:
        """How many models have a call that was recorded."""
        return len({root for root, _ in self._traces.by_key})

    @property
    def is_full(self) -> bool:
        """Whether so many models were kept that further ones were left alone."""
        return self.model_count == MOST_ROOTS

    def begin_in_session(self) -> None:
        """Watch what a part of an interactive session runs, with the models that the session has already."""
        self.begin()
        self._now().learn_of_all()

    def learn_of(self, module: nn.Module) -> None:
        """Watch a module too that was made just before this began."""
        self._now().learn_of(module)

    def begin(self) -> None:
        """Watch all that this process runs from now on, and what it forks if that is to be; torch has been imported."""
        from fwdtrace.program.watch import Watch
        from fwdtrace.recorder.recorded import Options

        program = self.program
        options = Options(program.ops, program.check_finite, program.with_stats, program.costs, program.backward)
        looks = Looks(
            program.check_finite or "nonfinite" in (program.on or ()),
            slow_factor(program.on or ()),
            program.last,
            program.save_step,
        )
        max_bytes = program.max_bytes if program.save_values is not None else None
        self._watch = Watch(self._wanted, options, self._keep, max_bytes, self._keep_event, looks)
        self._watch.begin()
        _follow_forks()
        _observed.append(self)

    def _now(self) -> Watch:
        assert self._watch is not None
        return self._watch

    def _forked(self) -> None:
        """Go on as a child that has kept nothing yet, or watch nothing here."""
        if self._children is None:
            self._now().end_in_child()
            return
        self.is_child, self.number, self._kept_calls = True, None, 0
        self._traces = self._new_traces()
        self._watch = self._now().go_on_in_child(self._keep)

    def _name_after_rank(self, rank: int) -> None:
        """Give the files of this rank their names, and begin the first one, if this is no child of the rank."""
        first, *others = sorted(
            self._files or [self._default_file()],
            key=lambda file: split_suffix(file)[1] != ".json",  # the ranks are compared by such files
        )
        if self.is_child:
            first = with_parts(first, f"rank{rank}")
        else:
            self._rank_files = RankFiles(*split_suffix(first), first.parent)
            first = self._rank_files.begin(rank)
        self._files = [first, *(with_parts(file, f"rank{rank}") for file in others)]
        if self._values_file is not None:
            self._values_file = with_parts(self._values_file, f"rank{rank}")

    def _default_file(self) -> Path:
        return Path(f"{self.program.name}.json").absolute()

    def _new_traces(self) -> ProgramTraces:
        """No traces yet; those of a child have no files before it has a number."""
        if not self.is_child:
            files, values = self._files, self._values_file
            return ProgramTraces(files, self._save, values, self._save_values, self._wanted.alone)
        if self.number is None:
            return ProgramTraces((), self._save)
        part = f"child{self.number}"
        files = [with_parts(file, part) for file in self._files or [self._default_file()]]
        values = with_parts(self._values_file, part) if self._values_file is not None else None
        return ProgramTraces(files, self._save, values, self._save_values, self._wanted.alone)

    def _take_number(self) -> None:
        """Get a number, and files of its own, for a child that is about to keep something for the first time."""
        if self.is_child and self.number is None and self._children is not None:
            self.number = self._children.claim()
            self._traces = self._new_traces()

    def leave_word(self, lines: Sequence[str]) -> None:
        """Leave word of a child, which has these lines to say, for the first process."""
        if self._children is None or self.number is None:
            return
        of_crash = self._traces.files_of_trace(self.crash) if self.crash is not None else []
        crash = next((str(file) for file in of_crash if split_suffix(file)[1] == ".json"), None)
        files = [str(file) for file in self.files]
        self._children.leave(Child(self.number, name_of_this_process(), lines, files, sorted(self.codes), crash))

    @property
    def codes(self) -> set[str]:
        """The codes of what was found, in children too."""
        own = {finding.code for trace in self.traces for finding in trace.findings}
        return own.union(*(child.codes for child in self.children))

    def end(self, *, raised: bool = True) -> None:
        """Watch nothing any more, and report: the program has ended, whether it has imported torch or not.

        Without `raised`, it was by no error, and one that Python remembers is of something else.
        """
        if self._watch is None and raised and "torch" in sys.modules and an_error_ended_it():
            self.begin()  # only a watch explains an error, also where no module was made
        if self._watch is not None:
            _observed.remove(self)
            error = self._error_of_backward() if raised else None
            self.backward_raised = error is not None
            self._watch.end(error)
        self._traces.end()
        self.crash = self._explained_crash() if raised else None
        self._add_caught()
        self._end_rank()
        self._end_children()
        if self.is_child or self.ranks is None or self.ranks.own == 0:
            self._report(self)

    def compare_ranks(self) -> RankReport | None:
        """Wait for the other ranks of this machine and compare all of them; None if there is one process alone."""
        if self.ranks is None or self._rank_files is None or self.is_child:
            return None
        from fwdtrace.program.ranks import compare_ranks

        return compare_ranks(self._rank_files, self.ranks)

    def _error_of_backward(self) -> Exception | None:
        """The error that ended the program, if it came out of a backward pass."""
        if not an_error_ended_it():
            return None
        from fwdtrace.program.explanation import raised_by_backward_of_program

        return raised_by_backward_of_program()

    def _explained_crash(self) -> Trace | None:
        """The call that raised the error that ended the program; it is saved, unless it was kept already."""
        if self._watch is None or not an_error_ended_it():
            return None
        from fwdtrace.program.explanation import explanation_of_end, text_from_elsewhere

        self.raised_elsewhere = text_from_elsewhere()
        end = explanation_of_end(self._watch, self._traces, self.ranks is None and self.backward_raised)
        if end is not None and not self._traces.has(end):
            self._take_number()
            self._traces.add_event(end)
        return end

    def _add_caught(self) -> None:
        """Save what explains errors that the program caught."""
        self.caught = self._watch.caught.caught() if self._watch is not None else []
        for each in self.caught:
            if each.trace is not None:
                self._take_number()
                self._traces.add_event(each.trace)

    def _save_values(self, values: Values, file: Path) -> str | None:
        from fwdtrace.compare.programs.saved_numbers import save_values

        try:
            return save_values(values.sides, file, values)
        except FwdtraceError as error:  # the program must not end because of us
            self._say(str(error))
            return None

    def _keep(self, kept: KeptCall) -> bool:
        self._take_number()
        trace = replace(kept.trace, run=replace(kept.trace.run, program=self._id))
        self._traces.add(kept.root, kept.round, trace, kept.values)
        return self._are_enough()

    def _keep_event(self, trace: Trace) -> bool:
        self._take_number()
        self._traces.add_event(trace)
        if len(self.events) >= self.program.keep and self._watch is not None:
            self._watch.look_no_more()
        return self._are_enough()

    def _are_enough(self) -> bool:
        """Count one more kept call, of which a child reports at once; whether there are as many as were asked for."""
        self._kept_calls += 1
        if self.is_child:
            self._report(self)
        stop_after = self.program.stop_after
        return stop_after is not None and self._kept_calls >= stop_after

    def killed(self) -> None:
        """Keep what there is, and report: the program is about to be killed."""
        with without_collecting():  # a search through all that torch has made would hold up the end
            if self._watch is not None:
                self._watch.keep_what_is_open()
            self._traces.end()
            self.crash = self._explained_crash()
            self._add_caught()
            self._end_rank()
            self._end_children()
            if self.is_child or self.ranks is None:  # other ranks are being killed too, and nobody waits for a report
                self._report(self)

    def _end_children(self) -> None:
        if self._children is not None and not self.is_child:
            self.children = self._children.all()
            self._children.remove()

    def _end_rank(self) -> None:
        if self.ranks is not None and self._rank_files is not None and not self.is_child:
            self._rank_files.end(self.ranks.own)


_observed: list[ObservedProgram] = []
"""What is being observed: a program, or a cell of a notebook."""


@functools.cache
def _follow_forks() -> None:
    """Have what is being observed learn of forks; it cannot be undone."""

    def each_does(step: Callable[[ObservedProgram], None]) -> None:
        for each in list(_observed):
            step(each)

    os.register_at_fork(
        before=lambda: each_does(lambda each: each._now().before_fork()),
        after_in_parent=lambda: each_does(lambda each: each._now().after_fork()),
        after_in_child=lambda: each_does(ObservedProgram._forked),
    )
    os.register_at_fork(after_in_parent=forked)


def _place(key: Key) -> tuple[int, int, Round]:
    return key[0], key[1][1], key[1]  # "other" stands before "training"
