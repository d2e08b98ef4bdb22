"""`watch(on="nonfinite")`: what `exec --on` does for a program, for a block of Python."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType

from fwdtrace.program.crash import explained
from fwdtrace.program.signals import heed_signal, ignore_signal
from fwdtrace.program.wanted import Looks, Wanted, slow_factor, what_is_wrong
from fwdtrace.program.watch import Watch
from fwdtrace.recorder.recorded import Options
from fwdtrace.trace import Trace


class WatchedBlock:
    """A block under watch, as a context manager; `traces` are the calls in which something happened, in order."""

    def __init__(self, on: Sequence[str], model: str | None, keep: int, last: int, every: int | None) -> None:
        self._on = on
        self._most = keep
        self._traces: list[Trace] = []
        looks = Looks("nonfinite" in on, slow_factor(on), last)
        wanted = Wanted(every=every, model=model, looks=any(event != "error" for event in on), alone=every is None)
        options = Options(ops=every is None, stats=every is not None)
        self._watch = Watch(wanted, options, lambda kept: False, keep_event=self._keep, looks=looks)

    def __enter__(self) -> WatchedBlock:
        if "signal" in self._on:
            heed_signal()
        self._watch.begin()
        self._watch.learn_of_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._watch.end(error)
        if "signal" in self._on:
            ignore_signal()
        if "error" in self._on and isinstance(error, Exception):
            watch = self._watch
            raised_at = watch.events.raised_at if watch.events is not None else None
            trace = explained(error, watch.top, raised_at, watch.caught.left_by(error))
            self._traces += [trace] if trace is not None else []

    @property
    def traces(self) -> tuple[Trace, ...]:
        """The calls in which something happened so far, in order."""
        return tuple(self._traces)

    @property
    def trace(self) -> Trace | None:
        """The first of them; None as long as nothing has happened."""
        return self._traces[0] if self._traces else None

    def _keep(self, trace: Trace) -> bool:
        self._traces.append(trace)
        if len(self._traces) >= self._most:
            self._watch.look_no_more()
        return False


def watch(
    *,
    on: str | Sequence[str] = "nonfinite",
    model: str | None = None,
    keep: int = 10,
    last: int = 5,
    every: int | None = None,
) -> WatchedBlock:
    """Notice what happens to any model inside a `with` block, and explain it by running the call once more.

    `on` is one event or several: "nonfinite", "slow" or "slow=K", "signal", and "error", which ends the block. `model`
    is the class or the path of the modules to look at, the topmost ones without it. At most `keep` events are kept,
    each with the `last` steps of the optimizer. With `every`, the first call of each model and then every so many are
    measured, and an event says how the largest number of each module has grown. ValueError if there is no such event.
    """
    events = (on,) if isinstance(on, str) else tuple(on)
    for event in events:
        wrong = what_is_wrong(event)
        if wrong:
            raise ValueError(f"on={event!r}: {wrong}")
    return WatchedBlock(events, model, keep, last, every)
