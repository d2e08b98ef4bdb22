"""`record(model)`: installs the boundaries, removes them whatever happens, and hands out the finished Trace."""

from __future__ import annotations

import sys
from collections.abc import Callable
from time import perf_counter_ns
from types import TracebackType

from torch import nn
from torch.nn.modules.module import Module, register_module_module_registration_hook
from torch.utils.hooks import RemovableHandle

from fwdtrace.recorder.boundaries import observe_forward, observed_call
from fwdtrace.recorder.describe import forget_leaves
from fwdtrace.recorder.finish import Surroundings, finished_trace, surroundings_of
from fwdtrace.recorder.hooks import take_out_all
from fwdtrace.recorder.measures.costs import count_costs, forget_costs, stop_counting
from fwdtrace.recorder.measures.finite import forget_values
from fwdtrace.recorder.measures.gradients import forget_gradients
from fwdtrace.recorder.modules import scan, unwrap_classes
from fwdtrace.recorder.notes import (
    Options,
    Recorded,
    changing,
    log,
    recordings,
    recordings_of_costs,
    recordings_of_gradients,
    recordings_of_ops,
    recordings_of_values,
    seen,
)
from fwdtrace.recorder.torch_internals import MODULE_CALL
from fwdtrace.trace import Trace

_removals: list[Callable[[], None]] = []
_listening: list[RemovableHandle] = []
"""The hook that tells of changes, once for each who asked for it."""


class Recording:
    """One recording of a model, as a context manager; `trace` is what was seen."""

    def __init__(self, model: nn.Module, options: Options, spec: str | None = None, seed: int | None = None) -> None:
        self._model = model
        self._options = options
        self._spec = spec
        self._seed = seed
        self._recorded: Recorded | None = None
        self._surroundings: Surroundings | None = None
        self._began = 0
        self._trace: Trace | None = None

    def __enter__(self) -> Recording:
        if self._recorded is not None or self._trace is not None:
            raise RuntimeError("this recording was used already; call fwdtrace.record(model) again for another")
        self._surroundings = surroundings_of(self._model, self._spec, self._seed)
        self._recorded = _begin(self._model, self._options)
        del self._model  # who keeps a recording keeps its trace, and not the model
        self._began = perf_counter_ns()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        duration = perf_counter_ns() - self._began
        recorded, self._recorded = self._recorded, None
        if recorded is None:
            return
        try:
            self._trace = self._finish(recorded, duration)
        finally:
            _end(recorded)
        if error is not None:
            forget_our_frames(error)

    @property
    def trace(self) -> Trace:
        """The finished trace; inside the block, a trace of what has happened so far. RuntimeError before the block."""
        if self._trace is not None:
            return self._trace
        if self._recorded is None:
            raise RuntimeError("nothing is recorded yet: use `with fwdtrace.record(model) as recording:`")
        return self._finish(self._recorded, perf_counter_ns() - self._began)

    def _finish(self, recorded: Recorded, duration: int) -> Trace:
        assert self._surroundings is not None
        with changing:  # two that finish at one time would number the same calls
            return finished_trace(recorded, self._surroundings, duration)


def record(
    model: nn.Module,
    *,
    ops: bool = False,
    check_finite: bool = False,
    stats: bool = False,
    costs: bool = False,
    gradients: bool = False,
    spec: str | None = None,
    seed: int | None = None,
) -> Recording:
    """Observe every call of the model and its submodules inside a `with` block.

    With `ops`, also the functional ops between them, those inside leaf modules and torch's own modules left out.
    With `check_finite`, where NaN and infinities come up. With `stats`, the statistics of every output.
    With `costs`, the floating-point operations of every call. With `gradients`, what is in the `grad` of every
    parameter at the end of the block, and when and how long the backward of every call ran.
    `spec` and `seed` are noted in the trace. Results, gradients, buffers and the RNG are as without the recording.
    TypeError if `model` is no `nn.Module`.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"fwdtrace.record takes an nn.Module, not {type(model).__name__}")
    return Recording(model, Options(ops, check_finite, stats, costs, gradients), spec, seed)


def _begin(model: nn.Module, options: Options) -> Recorded:
    with changing:
        return _begun(model, options)


def _begun(model: nn.Module, options: Options) -> Recorded:
    recorded = Recorded(model, options)
    recordings.append(recorded)
    if options.ops:
        recordings_of_ops.append(recorded)
    if options.check_finite or options.stats:
        recordings_of_values.append(recorded)
    if options.gradients:
        recordings_of_gradients.append(recorded)
    try:
        if len(recordings) == 1:
            _install()
        scan(recorded, observe_forward)
        if options.costs:
            recordings_of_costs.append(recorded)
            count_costs()
    except BaseException:
        _ended(recorded)
        raise
    return recorded


def _end(recorded: Recorded) -> None:
    with changing:
        _ended(recorded)


def _ended(recorded: Recorded) -> None:
    if recorded in recordings_of_costs:
        recordings_of_costs.remove(recorded)
        stop_counting()
    for each in (recordings, recordings_of_ops, recordings_of_values, recordings_of_gradients):
        if recorded in each:
            each.remove(recorded)
    if recordings:
        return
    take_out_all()
    unwrap_classes()
    while _removals:
        _removals.pop()()
    seen.clear()
    log.clear()
    forget_leaves()
    forget_values()
    forget_costs()
    forget_gradients()


def _install() -> None:
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(2 * limit)  # our frames must not be what exhausts the stack of a deep model
    _removals.append(lambda: _restore_recursion_limit(limit))
    _removals.append(listen_for_changes())
    Module.__call__ = observed_call  # type: ignore[method-assign]
    _removals.append(_restore_call)


def _restore_recursion_limit(limit: int) -> None:
    if sys.getrecursionlimit() == 2 * limit:
        sys.setrecursionlimit(limit)


def _restore_call() -> None:
    if Module.__call__ is observed_call:
        Module.__call__ = MODULE_CALL  # type: ignore[method-assign]


def listen_for_changes() -> Callable[[], None]:
    """Have the recordings told when the tree of a model changes, until what this gives is called by all who asked."""
    hook = _listening[0] if _listening else register_module_module_registration_hook(_tree_changed)
    _listening.append(hook)
    return _stop_listening


def _stop_listening() -> None:
    hook = _listening.pop()
    if not _listening:
        hook.remove()


def _tree_changed(module: nn.Module, name: str, submodule: nn.Module | None) -> None:
    for recorded in recordings:
        recorded.tree_changed = True


def forget_our_frames(error: BaseException) -> None:
    """Take our frames out of the traceback of an exception on its way to the user."""
    folder = __file__.rpartition("recording.py")[0]
    before = error.__traceback__
    while before is not None:
        step = before.tb_next
        while step is not None and step.tb_frame.f_code.co_filename.startswith(folder):
            step = step.tb_next
        before.tb_next = step
        before = step
