"""What is measured of backward, if asked: when and how long the backward of each call ran, and every gradient.

The nodes of the graph tell by their number in which call they were made; a pre-hook on each notes when it begins. No
module has a backward hook of ours, so the graph has the nodes that it has without us.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from threading import get_ident
from time import perf_counter_ns
from typing import Any

import torch
from torch import Tensor, nn

from fwdtrace.recorder.describe import tensors_of
from fwdtrace.recorder.measures.values import has_values
from fwdtrace.recorder.notes import OpenCall, OpenOp
from fwdtrace.recorder.session import Session
from fwdtrace.recorder.torch_internals import (
    Unseen,
    graph_task,
    next_node_number,
    node_number,
    when_backward_ends,
    without_torch_function,
)
from fwdtrace.recorder.tree import parameters_and_names
from fwdtrace.trace import Backward, Gradient


class Gradients:
    """The measure of backward: when and how long the own nodes of each call ran."""

    def __init__(self, session: Session) -> None:
        # Of the calls since the last outermost one began: the number of the first node made in it, and after it.
        self._numbers: dict[OpenCall, list[int]] = {}
        # Of each call some own node of which ran: when the first one began, and how long all ran, in nanoseconds.
        self._backwards: dict[OpenCall, list[int]] = {}
        # By backward pass and thread: the call whose node runs now, and since when.
        self._running: dict[tuple[int, int], tuple[OpenCall, int]] = {}
        self._hooks: list[Any] = []

    def begins(self, call: OpenCall | OpenOp, args: Any, kwargs: Any) -> None:
        """Note which node of the graph will be the first of this call."""
        if type(call) is not OpenCall:
            return
        if call.parent is None:
            self._numbers.clear()
        self._numbers[call] = [next_node_number(), 0]

    def ends(self, call: OpenCall | OpenOp, output: Any) -> None:
        """Note which node was the last of this call; watch those of the whole graph if it was the outermost."""
        numbers = self._numbers.get(call) if type(call) is OpenCall else None
        if numbers is None:
            return
        numbers[1] = next_node_number()
        if call.parent is not None:
            return
        if not any(other.thread for other in self._numbers):  # another thread numbers its nodes from the same beginning
            with without_torch_function():
                calls, firsts = list(self._numbers), [first for first, _ in self._numbers.values()]
                for node in _nodes(tensors_of(output), numbers[0]):
                    number = node_number(node)
                    owner = self._owner(number, calls[bisect_right(firsts, number) - 1])
                    if owner is not None:
                        self._hooks.append(node.register_prehook(self._when_begins(owner)))
        self._numbers.clear()

    def stop(self) -> None:
        """Take the hooks out of the graph."""
        while self._hooks:
            self._hooks.pop().remove()

    def backwards(self, calls: Iterable[OpenCall]) -> dict[OpenCall, Backward]:
        """Order and time of the backward of these calls, submodules included; without those none of whose nodes ran."""
        oldest_first = list(calls)
        spans = {call: list(self._backwards[call]) for call in oldest_first if call in self._backwards}
        for call in reversed(oldest_first):
            span, above = spans.get(call), call.parent
            if span is None or above is None:
                continue
            first, duration = spans.setdefault(above, [span[0], 0])
            spans[above] = [min(first, span[0]), duration + span[1]]
        begun = sorted((call for call in oldest_first if call in spans), key=lambda call: spans[call][0])
        return {call: Backward(order, spans[call][1] / 1000) for order, call in enumerate(begun)}

    def _owner(self, number: int, latest: OpenCall) -> OpenCall | None:
        """The innermost call in which the node with this number was made; `latest` is the last begun by then."""
        call: OpenCall | None = latest
        while call is not None and not number < self._numbers[call][1]:
            call = call.parent
        return call

    def _when_begins(self, call: OpenCall) -> Callable[[Any], None]:
        """A pre-hook for a node of this call; the time until the next node begins is the call's."""

        def begins(gradients: Any) -> None:
            now = perf_counter_ns()
            task = graph_task()
            if not any(key[0] == task for key in self._running):
                when_backward_ends(lambda: self._backward_ends(task))
            self._switch((task, get_ident()), call, now)

        return begins

    def _switch(self, place: tuple[int, int], call: OpenCall | None, now: int) -> None:
        before = self._running.pop(place, None)
        if before is not None:
            self._backwards[before[0]][1] += now - before[1]
        if call is not None:
            self._backwards.setdefault(call, [now, 0])
            self._running[place] = call, now

    def _backward_ends(self, task: int) -> None:
        now = perf_counter_ns()
        for place in [place for place in self._running if place[0] == task]:
            self._switch(place, None, now)


def gradients_of(model: nn.Module) -> tuple[Gradient, ...]:
    """Every parameter with what is in its `.grad` now; those left out whose gradient has no values to look at."""
    with Unseen():
        gradients = (_gradient(name, parameter) for name, parameter in parameters_and_names(model))
        return tuple(gradient for gradient in gradients if gradient is not None)


def _nodes(tensors: list[Tensor], first: int) -> Iterator[Any]:
    """The nodes of the graph behind these tensors that are not older than `first`."""
    pending = [tensor.grad_fn for tensor in tensors]
    met = set()
    while pending:
        node = pending.pop()
        if node is None or node in met or node_number(node) < first:
            continue
        met.add(node)
        yield node
        pending.extend(before for before, _ in node.next_functions)


def _gradient(name: str, parameter: Tensor) -> Gradient | None:
    shape = () if isinstance(parameter, nn.UninitializedParameter) else tuple(parameter.shape)
    gradient = parameter.grad
    if gradient is None:
        return Gradient(name, shape, parameter.requires_grad, None)
    try:
        if not has_values(gradient):
            return None
        values = gradient.coalesce().values() if gradient.is_sparse else gradient
        values = values.abs() if values.is_complex() else values
        nan, inf = int(values.isnan().sum()), int(values.isinf().sum())
        return Gradient(name, shape, parameter.requires_grad, _norm(values, nan + inf > 0), nan, inf)
    except (RuntimeError, NotImplementedError):  # a meta tensor, or a subclass that does not compute
        return None


def _norm(values: Tensor, has_others: bool) -> float:
    """The Euclidean norm of the finite elements, which does not overflow where the squares would."""
    finite = values[values.isfinite()] if has_others else values
    largest = float(finite.abs().max()) if finite.numel() else 0.0
    precise = torch.promote_types(values.dtype, torch.float32)
    return largest * float(torch.linalg.vector_norm(finite / largest, dtype=precise)) if largest else 0.0
