"""The steps of a program's optimizers: their numbers, the learning rates, the norms of the gradients before each."""

from __future__ import annotations

import contextlib
import math
import sys
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from fwdtrace.program.roots import Root
from fwdtrace.recorder.describe import walk
from fwdtrace.recorder.measures.values import has_values
from fwdtrace.recorder.torch_internals import Unseen, dispatch_modes, norms_of, torch_function_modes
from fwdtrace.trace import Trace
from fwdtrace.trace.info import StepInfo, StepOutput

Keep = Callable[[Root, Trace], bool]
"""Takes the trace of an event; whether the program is to be ended."""

SMALL = (torch.float16, torch.bfloat16)
"""Types in which a sum of squares soon is infinite, or lost."""


@dataclass(eq=False)
class Optimizer:
    """What is known of one optimizer: how often it was asked to step, its last steps, and whose parameters it has.

    `is_spoiled` says whether the gradients of the latest step were not finite.
    """

    name: str
    last: deque[StepInfo]
    steps: int = 0
    is_spoiled: bool = False
    _owns: weakref.WeakKeyDictionary[Root, bool] = field(default_factory=weakref.WeakKeyDictionary)

    def owns(self, root: Root, optimizer: Any) -> bool:
        """Whether the optimizer, which this is of, steps on a parameter of a root."""
        known = self._owns.get(root)
        if known is None:
            model = root.module()
            own = {id(parameter) for parameter in model.parameters()} if model is not None else set()
            known = any(id(each) in own for group in optimizer.param_groups for each in group["params"])
            self._owns[root] = known
        return known

    def has_stepped_on(self, root: Root) -> bool:
        """Whether it is known to step on a parameter of a root."""
        return self._owns.get(root, False)


@dataclass(frozen=True)
class Happened:
    """What happened to a call, and at which step: the one that the optimizer is at, or one ahead."""

    event: str
    optimizer: Optimizer | None
    ahead: int = 0
    first_us: float | None = None
    usual_us: float | None = None


class Steps:
    """The optimizers of a program, and the last steps of each."""

    def __init__(self, last: int) -> None:
        self._last = last
        self._known: weakref.WeakKeyDictionary[Any, Optimizer] = weakref.WeakKeyDictionary()

    def of(self, optimizer: Any) -> Optimizer:
        """What is known of this optimizer."""
        known = self._known.get(optimizer)
        if known is None:
            known = self._known[optimizer] = Optimizer(type(optimizer).__name__, deque(maxlen=self._last))
        return known

    def add(self, optimizer: Any, norm: float, roots: Iterable[Root]) -> Optimizer:
        """Count a step, before which the gradients had this norm and these roots were called."""
        known = self.of(optimizer)
        known.steps += 1
        rates = tuple(dict.fromkeys(float(group["lr"]) for group in optimizer.param_groups if "lr" in group))
        outputs: list[StepOutput] = []
        for root in roots:
            if root.numbers and known.owns(root, optimizer):
                outputs += root.numbers
                root.numbers.clear()
        known.last.append(StepInfo(known.steps, rates, norm if math.isfinite(norm) else None, tuple(outputs)))
        return known

    def optimizer_of(self, known: Optimizer | None) -> Any:
        """The optimizer that this is known of, if it is still there."""
        return next((optimizer for optimizer, each in self._known.items() if each is known), None)

    def of_root(self, root: Root) -> Optimizer | None:
        """The optimizer that steps on parameters of a root; None if none has yet."""
        return next((each for each in self._known.values() if each.has_stepped_on(root)), None)


def single_numbers(call: int, output: Any, sums: Sequence[float | None]) -> Iterator[StepOutput]:
    """What a call has returned in tensors of one element."""
    tensors = [(name, part) for name, part in walk(output, "") if isinstance(part, Tensor)]
    for (name, tensor), number in zip(tensors, sums, strict=True):
        if number is not None and tensor.numel() == 1:
            yield StepOutput(call, name, number if math.isfinite(number) else None)


def gradients_for(optimizer: Any) -> list[Tensor]:
    """The gradients that an optimizer is about to use."""
    return [
        gradient
        for group in optimizer.param_groups
        for parameter in group["params"]
        if (gradient := parameter.grad) is not None
    ]


def norm_of(gradients: Sequence[Tensor]) -> float:
    """The norm of all these tensors on this rank, as of gradients; NaN or infinite if and only if an element is.

    Of a kind of tensor that does not compute nothing is known: it counts as zero.
    """
    if {*map(type, gradients)} <= {Tensor, nn.Parameter}:
        with contextlib.suppress(RuntimeError, NotImplementedError):  # a sparse one, or one without numbers
            with torch.no_grad() if not (torch_function_modes() or dispatch_modes()) else Unseen():
                norm = _norm_at_once(gradients)
            if math.isfinite(norm):
                return norm
    with Unseen():
        return math.hypot(*(_norm_alone(part) for gradient in gradients if (part := _numbers(gradient)) is not None))


def _norm_at_once(gradients: Sequence[Tensor]) -> float:
    """The norm, unless it is too large for its type, in one pass; that of small types is computed in float32."""
    small = [gradient for gradient in gradients if gradient.dtype in SMALL]
    norms = list(norms_of(small, 2, torch.float32)) if small else []
    if len(small) < len(gradients):
        norms += norms_of([each for each in gradients if each.dtype not in SMALL] if small else gradients, 2)
    if len({norm.device for norm in norms}) > 1:
        norms = [norm.to(norms[0].device) for norm in norms]
    return math.hypot(*torch.stack(norms).tolist())


def _norm_alone(numbers: Tensor) -> float:
    """The norm of one tensor, without that it becomes infinite on the way."""
    try:
        wide = numbers.to(torch.complex128 if numbers.is_complex() else torch.float64)
        largest = float(torch.linalg.vector_norm(wide, math.inf))
        if largest == 0 or not math.isfinite(largest):
            return largest
        return min(largest * float(torch.linalg.vector_norm(wide / largest)), sys.float_info.max)
    except (RuntimeError, NotImplementedError):
        return 0.0


def _numbers(gradient: Any) -> Tensor | None:
    """The elements that are on this rank, and not what a sparse gradient leaves out."""
    local = getattr(gradient, "_local_tensor", gradient)
    if not isinstance(local, Tensor) or not has_values(local) or local.numel() == 0:
        return None
    return local._values() if local.is_sparse else local
