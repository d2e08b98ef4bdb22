"""A Recording: installs the boundaries, removes them whatever happens, and hands out the finished Trace."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from time import perf_counter_ns
from types import TracebackType
from typing import Any

from torch import nn

from fwdtrace.errors import SKIPPED_BY_WARNINGS
from fwdtrace.recorder.boundaries import observe_calls, observe_forward
from fwdtrace.recorder.earlier import earlier_calls_of
from fwdtrace.recorder.finish import Surroundings, finished_trace, surroundings_of
from fwdtrace.recorder.hooks import take_out_all
from fwdtrace.recorder.measures.costs import Costs
from fwdtrace.recorder.measures.device_time import DeviceTime
from fwdtrace.recorder.measures.finiteness import Finiteness
from fwdtrace.recorder.measures.gradients import Gradients
from fwdtrace.recorder.measures.ops import Ops
from fwdtrace.recorder.measures.peak_memory import PeakMemory
from fwdtrace.recorder.measures.statistics import Statistics
from fwdtrace.recorder.modules import include, let_forwards_go, scan
from fwdtrace.recorder.recorded import Options, Recorded
from fwdtrace.recorder.session import Elsewhere, Measure, OpsMeasure, Session, changing, listen_for_changes, running
from fwdtrace.recorder.torch_internals import without_torch_function
from fwdtrace.trace import Trace
from fwdtrace.trace.garbage import nothing_collected

Explain = Callable[[Trace, nn.Module, Exception], Trace]


class Recording:
    """One recording of a model, as a context manager; `trace` is what was seen."""

    def __init__(
        self,
        model: nn.Module,
        options: Options,
        spec: str | None = None,
        seed: int | None = None,
        call: int | None = None,
        first_id: int = 0,
        explain: Explain | None = None,
    ) -> None:
        """`call` and `first_id` are those of `Recorded`, for who counts the calls of a root and joins their traces.

        `explain` is given the trace, the model and the exception that ended the block, and gives the trace to hand out.
        """
        self._model = model
        self._call = call
        self._first_id = first_id
        self._explain = explain
        self._options = options
        self._spec = spec
        self._seed = seed
        self._open: tuple[Session, Recorded] | None = None
        self._surroundings: Surroundings | None = None
        self._began = 0
        self._trace: Trace | None = None

    def __enter__(self) -> Recording:
        self.begin()
        return self

    def begin(self, observed: Callable[[], None] = lambda: None, elsewhere: Elsewhere | None = None) -> None:
        """Begin to record, for whom has other threads that may be calling models.

        `observed` is called once a call of any module in any thread is observed, and before what it is that is called
        is looked at. `elsewhere` is given each call that another thread makes by itself, in that thread.
        """
        if self._open is not None or self._trace is not None:
            raise RuntimeError("this recording was used already; call fwdtrace.record(model) again for another")
        if self._surroundings is None:
            self.look_around()
        with without_torch_function():
            recorded = self._model, self._options, self._call, self._first_id
            self._open = _begin(*recorded, observed, elsewhere)
        del self._model  # who keeps a recording keeps its trace, and not the model
        self._began = perf_counter_ns()

    def look_around(self) -> None:
        """Note how the run begins, for whom entering must be quick: another thread may be about to call the model."""
        with without_torch_function():  # a mode of the user's must not see us read the parameters
            self._surroundings = surroundings_of(self._model, self._spec, self._seed)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.end(error)

    def end(self, error: BaseException | None = None, about_to: Callable[[], None] = lambda: None) -> None:
        """End the recording, which this error has ended; `about_to` is called while calls are observed a last time."""
        duration = perf_counter_ns() - self._began
        opened, self._open = self._open, None
        if opened is None:
            return
        session, recorded = opened
        device_time = session.kinds.get(DeviceTime)
        try:
            if isinstance(device_time, DeviceTime) and (error is None or isinstance(error, Exception)):
                device_time.wait()  # but Ctrl-C must not wait for a device that hangs
            self._trace = self._finish(session, recorded, duration, error)
        finally:
            about_to()
            with changing:
                _end(session, recorded)
        if self._explain is not None and isinstance(error, Exception):
            self._trace = self._explain(self._trace, recorded.root, error)
        if error is not None:
            forget_our_frames(error)

    def include(self, module: nn.Module) -> None:
        """Record the calls of a module that is not in the model's tree, too, such as a loss; inside the block."""
        if self._open is None:
            raise RuntimeError("nothing is recorded: include(module) works inside `with fwdtrace.record(model)`")
        with changing, without_torch_function():
            include(*self._open, module, observe_forward)

    @property
    def trace(self) -> Trace:
        """The finished trace; inside the block, a trace of what has happened so far. RuntimeError before the block."""
        if self._trace is not None:
            return self._trace
        if self._open is None:
            raise RuntimeError("nothing is recorded yet: use `with fwdtrace.record(model) as recording:`")
        return self._finish(*self._open, perf_counter_ns() - self._began)

    def _finish(self, session: Session, recorded: Recorded, duration: int, error: BaseException | None = None) -> Trace:
        assert self._surroundings is not None
        # Another thread may be about to scan the tree again.
        with changing, without_torch_function(), nothing_collected():
            return finished_trace(session, recorded, self._surroundings, duration, error)


def _begin(
    model: nn.Module,
    options: Options,
    call: int | None,
    first_id: int,
    observed: Callable[[], None],
    elsewhere: Elsewhere | None,
) -> tuple[Session, Recorded]:
    with changing, nothing_collected():
        session = running.session or Session()
        start, home, earlier = len(session.log), session.threads.stack, earlier_calls_of(model)
        recorded = Recorded(model, options, start, home, earlier, call, first_id)
        session.recordings.append(recorded)
        try:
            if running.session is None:
                running.session = session
                _install(session)
            if elsewhere is not None and elsewhere not in session.elsewhere:
                session.elsewhere = (*session.elsewhere, elsewhere)
            observed()
            scan(session, recorded, observe_forward)
            for kind in _asked(options):
                if kind not in session.kinds:
                    session.kinds[kind] = kind(session)
            _share_measures(session)
        except BaseException:
            _end(session, recorded)
            raise
        return session, recorded


def _end(session: Session, recorded: Recorded) -> None:
    session.recordings.remove(recorded)
    wanted = {kind for other in session.recordings for kind in _asked(other.options)}
    for kind in [kind for kind in session.kinds if kind not in wanted]:
        session.kinds.pop(kind).stop()
    if recorded.options.keeper is not None:
        recorded.options.keeper.stop()
    _share_measures(session)
    if session.recordings:
        return
    take_out_all(session)
    let_forwards_go(session)
    while session.removals:
        session.removals.pop()()
    running.session = None


def _asked(options: Options) -> Iterator[Callable[[Session], Measure | OpsMeasure]]:
    """The classes of the measures that a recording asked for, in the order in which they measure a call."""
    if options.gradients:
        yield Gradients
    if options.check_finite:
        yield Finiteness
    if options.stats:
        yield Statistics
    if options.costs:
        yield Costs
    if options.ops:
        yield Ops
    if options.accelerators.kind() is not None:
        yield DeviceTime
        if options.peak_memory:
            yield PeakMemory


def _share_measures(session: Session) -> None:
    """Have the boundaries use the measures that the running recordings ask for."""
    ops = session.kinds.get(Ops)
    keepers = [recorded.options.keeper for recorded in session.recordings if recorded.options.keeper is not None]
    # Last in the order, and so next to the call: what the others do on the device is not the call's.
    clocks: list[Any] = [session.kinds[kind] for kind in (PeakMemory, DeviceTime) if kind in session.kinds]
    others: list[Any] = [measure for measure in session.kinds.values() if measure is not ops and measure not in clocks]
    session.ops = ops if isinstance(ops, Ops) else None
    if session.ops is not None:
        session.ops.in_leaves = any(recorded.options.check_finite for recorded in session.recordings)
    session.measures = (*others, *keepers, *clocks)


def _install(session: Session) -> None:
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(2 * limit)  # our frames must not be what exhausts the stack of a deep model
    session.removals.append(lambda: _restore_recursion_limit(limit))
    session.removals.append(listen_for_changes())
    session.removals.append(observe_calls(session))


def _restore_recursion_limit(limit: int) -> None:
    if sys.getrecursionlimit() == 2 * limit:
        sys.setrecursionlimit(limit)


def forget_our_frames(error: BaseException) -> None:
    """Take our frames out of the traceback of an exception on its way to the user."""
    folder = __file__.rpartition("recording.py")[0]
    ours = (folder, SKIPPED_BY_WARNINGS)
    before = error.__traceback__
    while before is not None:
        step = before.tb_next
        while step is not None and step.tb_frame.f_code.co_filename.startswith(ours):
            step = step.tb_next
        before.tb_next = step
        before = step
