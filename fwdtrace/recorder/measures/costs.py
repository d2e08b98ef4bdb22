"""What calls cost, if asked: floating-point operations, by torch's own formulas."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor
from torch.utils.flop_counter import flop_registry

from fwdtrace.recorder.dispatch_mode import DispatchMode
from fwdtrace.recorder.notes import OpenCall, OpenOp
from fwdtrace.recorder.session import Session, Threads
from fwdtrace.recorder.torch_internals import dispatch_modes, is_composite, run_composite


class Costs:
    """The measure of floating-point operations; counts in the thread in which it was made, until it is stopped."""

    def __init__(self, session: Session) -> None:
        # What each call computed itself, its submodules left out; a call that computed nothing is not there.
        self._own: dict[OpenCall, int] = {}
        self._mode = _CostMode(session.threads, self._own)
        self._mode.__enter__()  # type: ignore[no-untyped-call]

    def begins(self, call: OpenCall | OpenOp, args: Any, kwargs: Any) -> None:
        """Nothing to do: the mode sees every operation."""

    def ends(self, call: OpenCall | OpenOp, output: Any) -> None:
        """Nothing to do."""

    def stop(self) -> None:
        """Count no more."""
        self._mode.__exit__(None, None, None)  # type: ignore[no-untyped-call]

    def totals(self, calls: Iterable[OpenCall], is_unseen: Callable[[OpenCall], bool]) -> dict[OpenCall, int]:
        """The operations of each call, its submodules included; without every call in, or around, one that is unseen.

        Of compiled code some operations are seen and some are not.
        """
        oldest_first = list(calls)
        totals: dict[OpenCall, int | None] = {}
        for call in oldest_first:
            hidden = is_unseen(call) or (call.parent in totals and totals[call.parent] is None)
            totals[call] = None if hidden else self._own.get(call, 0)
        for call in reversed(oldest_first):
            own, above = totals[call], call.parent
            if above is None or above not in totals:
                continue
            so_far = totals[above]
            totals[above] = None if own is None or so_far is None else so_far + own
        return {call: total for call, total in totals.items() if total is not None}


class _CostMode(DispatchMode):
    """Counts each operation of torch for the innermost call that is open in its thread, as `FlopCounterMode` does.

    An operation that torch has no formula for counts as nothing; so does backward, during which no call is open.
    """

    def __init__(self, threads: Threads, counts: dict[OpenCall, int]) -> None:
        super().__init__()
        self._threads = threads
        self._counts = counts

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation and count it."""
        kwargs = kwargs or {}
        formula = flop_registry.get(getattr(function, "_overloadpacket", function))
        if formula is None:
            answers_itself = any(cls.__torch_dispatch__ is not Tensor.__torch_dispatch__ for cls in types)
            if answers_itself and not dispatch_modes():
                return NotImplemented  # the tensor's class goes on, with operations that are seen again
            if answers_itself or not is_composite(function):
                return function(*args, **kwargs)
            # In inference mode operations come whole that otherwise come as the parts that have formulas.
            with self:
                return run_composite(function, *args, **kwargs)
        result = function(*args, **kwargs)
        stack = self._threads.stack
        if stack:
            self._counts[stack[-1]] = self._counts.get(stack[-1], 0) + _flops(formula, args, kwargs, result)
        return result


def _flops(formula: Callable[..., Any], args: Any, kwargs: Any, result: Any) -> int:
    try:
        return int(formula(*args, **kwargs, out_val=result))
    except Exception:  # a formula that does not know these arguments must not stop the model
        return 0
