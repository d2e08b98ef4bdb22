"""What calls cost, if asked: floating-point operations, by torch's own formulas."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from fwdtrace.recorder.open_calls import OpenCall, recordings_of_costs, stacks
from fwdtrace.recorder.torch_names import is_composite, run_composite

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
        stack = stacks.stack
        if _asks_for_a_size(function):
            return NotImplemented  # the tensor itself answers
        formula = flop_registry.get(getattr(function, "_overloadpacket", function))
        if formula is None:
            # In inference mode operations come whole that otherwise come as the parts that have formulas.
            if not is_composite(function):
                return function(*args, **kwargs)
            with self:
                return run_composite(function, *args, **kwargs)
        result = function(*args, **kwargs)
        if stack:
            _own_flops[stack[-1]] = _own_flops.get(stack[-1], 0) + _flops(formula, args, kwargs, result)
        return result

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
    """The operations of each call, its submodules included; a call within which some ran `unseen` is left out."""
    newest_first = list(calls)[::-1]
    totals = {call: _own_flops.get(call, 0) for call in newest_first}
    for call in newest_first:
        above = call.parent
        if unseen(call) or call not in totals:
            totals.pop(call, None)
            if above is not None:
                totals.pop(above, None)
        elif above in totals and above is not None:
            totals[above] += totals[call]
    return totals


def forget_costs() -> None:
    """Drop what was counted; called when no recording is left."""
    _own_flops.clear()


_MODE = CostMode()  # type: ignore[no-untyped-call]


def _flops(formula: Callable[..., Any], args: Any, kwargs: Any, result: Any) -> int:
    try:
        return int(formula(*args, **kwargs, out_val=result))
    except Exception:  # a formula that does not know these arguments must not stop the model
        return 0


def _asks_for_a_size(function: Any) -> bool:
    return getattr(function, "_overloadpacket", function).__name__ in _SIZES


_SIZE_NAMES = """
    dim is_contiguous is_non_overlapping_and_dense is_strides_like_format layout numel size storage_offset stride
    sym_is_contiguous sym_numel sym_size sym_storage_offset sym_stride
"""
_SIZES = frozenset(_SIZE_NAMES.split())
"""What a tensor with a shape of its own kind, a nested one, is asked through operations."""
