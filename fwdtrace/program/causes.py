"""Which call is to blame for numbers that are not finite, and for which calls that has been reported."""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from fwdtrace.program.moment import tensors_in_arguments
from fwdtrace.program.passes import Pass, leaves_behind, sum_of
from fwdtrace.program.roots import Root
from fwdtrace.program.steps import Optimizer, norm_of

if TYPE_CHECKING:
    from fwdtrace.program.replay import Replay


class Spoiled:
    """Which roots gave numbers that are not finite, and from which parameters, since these were last stepped on."""

    def __init__(self) -> None:
        self._roots: weakref.WeakSet[Root] = weakref.WeakSet()
        self._behind: list[weakref.ref[Tensor]] = []

    def add(self, root: Root, outputs: Sequence[Tensor]) -> None:
        """Note that a call of a root gave these outputs."""
        self._roots.add(root)
        self._behind += map(weakref.ref, leaves_behind(outputs))

    def leads_to(self, known: Optimizer, optimizer: Any) -> bool:
        """Whether the gradients that an optimizer is about to use may have come through such numbers, as in a loss."""
        if any(known.owns(root, optimizer) for root in self._roots):
            return True
        behind = {id(leaf) for reference in self._behind if (leaf := reference()) is not None}
        return any(id(each) in behind for group in optimizer.param_groups for each in group["params"])

    def stepped(self, known: Optimizer, optimizer: Any) -> None:
        """Forget the roots and parameters on which this optimizer steps."""
        self._roots -= {root for root in self._roots if known.owns(root, optimizer)}
        if self._behind:
            stepped = {id(each) for group in optimizer.param_groups for each in group["params"]}
            self._behind = [each for each in self._behind if id(each()) not in stepped]


def tell(passes: Iterable[Pass], blamed: Pass) -> None:
    """Note that what went wrong in these passes has been reported, and which of them was named as the cause."""
    for each in passes:
        each.is_reported = True
    blamed.is_blamed = True


def is_reported(passes: Sequence[Pass]) -> bool:
    """Whether what went wrong in these passes has been reported already, for another optimizer."""
    return bool(passes) and all(each.is_reported for each in passes)


def is_meant(noted: Pass, replay: Replay) -> bool:
    """Whether a call gives infinities that are meant, as where a mask hides actions."""
    found = any(finding.code == "FT005" for finding in replay.trace.findings)
    has_nan = any(number is not None and math.isnan(number) for number in noted.sums)
    return not found and not has_nan and not replay.inexact


def is_given_nonfinite(noted: Pass) -> bool:
    """Whether NaN or infinities are among the arguments of a call, or among the weights of the model."""
    given = map(sum_of, tensors_in_arguments(noted.moment.args, noted.moment.kwargs))
    if any(number is not None and not math.isfinite(number) for number in given):
        return True
    return not math.isfinite(norm_of(list(noted.moment.module.parameters())))


def made_in(replay: Replay) -> bool:
    """Whether the backward of the call itself made what is not finite."""
    return any(fault.kind == "non-finite" and fault.event is not None for fault in replay.trace.gradient_faults)


def only_given(replay: Replay) -> bool:
    """Whether the replay was given NaN or infinities, and nothing in it made new ones."""
    numbers = [event.nonfinite for event in replay.trace.events if event.nonfinite is not None]
    return any(each.spoiled_inputs for each in numbers) and not any(each.inputs_finite for each in numbers)
