"""What calls cost, if asked: floating-point operations, by torch's own formulas."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from fwdtrace.recorder.notes import OpenCall, recordings_of_costs, stacks
from fwdtrace.recorder.torch_internals import dispatch_modes, is_composite, run_composite

_own_flops: dict[OpenCall, int] = {}
"""What each call computed itself, its submodules left out; a call that computed nothing is not there."""


class CostMode(TorchDispatchMode):  # type: ignore[no-untyped-call]  # its __init_subclass__
    """Counts each operation of torch for the innermost call that is open in its thread, as `FlopCounterMode` does.

    An operation that torch has no formula for counts as nothing; so does backward, during which no call is open.
    """

    supports_higher_order_operators = True

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
        stack = stacks.stack
        if stack:
            _own_flops[stack[-1]] = _own_flops.get(stack[-1], 0) + _flops(formula, args, kwargs, result)
        return result

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Keep torch from importing its compiler at the first operation: a second, told of the first layer."""
        return False

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        """Let torch.compile compile as it does without us."""
        return True


def count_costs() -> None:
    """Begin to count, if this is the first recording that asks for it."""
    if len(recordings_of_costs) == 1:
        _MODE.__enter__()  # type: ignore[no-untyped-call]


def stop_counting() -> None:
    """Count no more, if that was the last recording that asked for it."""
    if not recordings_of_costs:
        _MODE.__exit__(None, None, None)  # type: ignore[no-untyped-call]


def total_flops(calls: Iterable[OpenCall], unseen: Callable[[OpenCall], bool]) -> dict[OpenCall, int]:
    """The operations of each call, its submodules included; left out is every call in, or around, one that is `unseen`.

    Of compiled code some operations come by and some do not.
    """
    oldest_first = list(calls)
    totals: dict[OpenCall, int | None] = {}
    for call in oldest_first:
        hidden = unseen(call) or (call.parent in totals and totals[call.parent] is None)
        totals[call] = None if hidden else _own_flops.get(call, 0)
    for call in reversed(oldest_first):
        own, above = totals[call], call.parent
        if above is None or above not in totals:
            continue
        so_far = totals[above]
        totals[above] = None if own is None or so_far is None else so_far + own
    return {call: total for call, total in totals.items() if total is not None}


def forget_costs() -> None:
    """Drop what was counted; called when no recording is left."""
    _own_flops.clear()


_MODE = CostMode()  # type: ignore[no-untyped-call]


def _flops(formula: Callable[..., Any], args: Any, kwargs: Any, result: Any) -> int:
    try:
        return int(formula(*args, **kwargs, out_val=result))
    except Exception:  # a formula that does not know these arguments must not stop the model
        return 0
