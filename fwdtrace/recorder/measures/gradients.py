"""What is measured of backward, if asked: when and how long the backward of each call ran, and every gradient.

The nodes of the graph tell by their number in which call they were made; a pre-hook on each notes when it begins. No
module has a backward hook of ours, so the graph has the nodes that it has without us.
"""

from __future__ import annotations

import sys
import weakref
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from threading import get_ident
from time import perf_counter_ns
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

from fwdtrace.recorder.describe import tensors_of
from fwdtrace.recorder.frames import is_boundary, is_ours
from fwdtrace.recorder.measures.backward_errors import (
    Failure,
    explained,
    failure_of,
    is_second_pass,
    raised_by_backward,
)
from fwdtrace.recorder.measures.backward_graph import BackwardGraph
from fwdtrace.recorder.measures.users_backward import UsersBackward, follow, follow_no_more
from fwdtrace.recorder.measures.values import has_values
from fwdtrace.recorder.measures.writes import Writes
from fwdtrace.recorder.notes import Note, OpenCall, OpenOp
from fwdtrace.recorder.session import Session
from fwdtrace.recorder.torch_internals import (
    REENTRANT_CODE,
    Unseen,
    graph_task,
    next_node_number,
    node_number,
    part_here,
    running_node,
    when_backward_ends,
    without_torch_function,
)
from fwdtrace.recorder.tree import parameters_and_names
from fwdtrace.trace import Backward, BackwardError, Fault, Gradient, GradientFault, WithoutGrad


class Gradients:
    """The measure of backward: the own steps of each call and op, what they made of gradients, and what raised.

    `without_grad` has the calls and ops of which no graph was made, and why.
    """

    def __init__(self, session: Session) -> None:
        self.without_grad: dict[Note, WithoutGrad] = {}
        self._writes = Writes()
        self._graph = BackwardGraph()
        # Of the calls and ops since the last outermost one began: the number of their first node, and that after it.
        self._numbers: dict[Note, list[int]] = {}
        self._given: list[weakref.ref[Tensor]] = []
        # Of each call some own node of which ran: when the first one began, and how long all ran, in nanoseconds.
        self._backwards: dict[OpenCall, list[int]] = {}
        # By backward pass and thread: the call whose node runs now, and since when; and that node, with its number.
        self._running: dict[tuple[int, int], tuple[OpenCall | None, int]] = {}
        self._nodes: dict[tuple[int, int], tuple[int, Any]] = {}
        # Those of them whose backward the user has written, while they run.
        self._followed: dict[tuple[int, int], UsersBackward] = {}
        self._failures: list[Failure] = []
        self._hooks: list[Any] = []

    def begins(self, note: Note, args: Any, kwargs: Any) -> None:
        """Note which node of the graph will be the first of this call or op."""
        if note.parent is None:
            self._numbers.clear()
            self._given.clear()
            self._writes.forget_unfinished()
            self._notice_failures()
        self._numbers[note] = [next_node_number(), 0]
        if not torch.is_grad_enabled():
            above = self.without_grad.get(note.parent) if note.parent is not None else None
            self.without_grad[note] = above or _why_without_grad(sys._getframe(1))
        self._writes.begins(note, args, kwargs)

    def ends(self, note: Note, output: Any) -> None:
        """Note which node was the last of this call or op; watch those of the whole graph if it was the outermost."""
        self._writes.ends(note)
        numbers = self._numbers.get(note)
        if numbers is None:
            return
        numbers[1] = next_node_number()
        with without_torch_function():
            self._given += [weakref.ref(tensor) for tensor in tensors_of(output) if tensor.requires_grad]
            if note.parent is None and not any(type(other) is OpenCall and other.thread for other in self._numbers):
                self._watch(numbers[0])  # another thread numbers its nodes from the same beginning
        if note.parent is None:
            self._numbers.clear()
            self._given.clear()

    def stop(self) -> None:
        """Take the hooks out of the graph, and hold none of its nodes."""
        while self._hooks:
            self._hooks.pop().remove()
        self._nodes.clear()
        self._followed.clear()
        self._failures.clear()

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

    def faults(
        self, model: nn.Module, gradients: Iterable[Gradient], ids: dict[Note, int]
    ) -> tuple[GradientFault, ...]:
        """Where these gradients of the model's parameters went wrong; `ids` are those of its recording."""
        identities = {name: id(parameter) for name, parameter in parameters_and_names(model)}
        kinds = ((gradient.name, _kind_of_fault(gradient)) for gradient in gradients)
        found = self._graph.faults((name, identities[name], kind) for name, kind in kinds if kind is not None)
        return tuple(replace(fault, event=ids.get(owner) if owner is not None else None) for owner, fault in found)

    def errors(self, model: nn.Module, ids: dict[Note, int], error: BaseException | None) -> tuple[BackwardError, ...]:
        """What backward raised; `error` is what ended the recording, if anything did."""
        self._notice_failures()
        raised = error if error is not None and raised_by_backward(error) else None
        if raised is not None and not self._failures:
            return (BackwardError(type(raised).__name__, str(raised), freed=is_second_pass(str(raised))),)
        last = len(self._failures) - 1
        return tuple(
            explained(failure, self._graph, self._writes, model, ids, raised if place == last else None)
            for place, failure in enumerate(self._failures)
        )

    def _watch(self, first: int) -> None:
        """Hook the nodes behind all that is alive of what was given; none of them is older than `first`."""
        alive = [tensor for reference in self._given if (tensor := reference()) is not None]
        owners = sorted(self._numbers, key=lambda note: self._numbers[note][0])
        firsts = [self._numbers[note][0] for note in owners]
        for node in _nodes(alive, first):
            number = node_number(node)
            if number in self._graph:
                continue
            self._graph.add(number, node, self._owner(number, owners[bisect_right(firsts, number) - 1]))
            self._hooks.append(node.register_prehook(self._when_begins(number)))
            self._hooks.append(node.register_hook(self._when_ends(number)))

    def _owner(self, number: int, latest: Note) -> Note | None:
        """The innermost call or op in which the node with this number was made; `latest` is the last begun by then."""
        note: Note | None = latest
        while note is not None and not number < self._numbers[note][1]:
            note = note.parent
        return note

    def _when_begins(self, number: int) -> Callable[[Any], None]:
        """A pre-hook for a node; the time until the next node begins is its call's."""
        owner = self._graph.owner(number)
        call = owner.parent if isinstance(owner, OpenOp) else owner

        def begins(gradients: Any) -> None:
            now = perf_counter_ns()
            task = graph_task()
            if not any(key[0] == task for key in self._running):
                when_backward_ends(lambda: self._backward_ends(task))
            place = task, get_ident()
            self._switch(place, call, now)
            self._graph.begins(number, task)
            self._nodes[place] = number, running_node()
            if (followed := follow(running_node())) is not None:
                self._followed[place] = followed

        return begins

    def _when_ends(self, number: int) -> Callable[[Any, Any], None]:
        """A hook for a node that has run: what we do then is not in its call's time."""

        def ends(given: Any, taken: Any) -> None:
            began = perf_counter_ns()
            place = graph_task(), get_ident()
            followed = self._followed.pop(place, None)
            if followed is not None:
                follow_no_more(followed)
            self._graph.ends(number, taken, given, followed)
            self._nodes.pop(place, None)
            if place in self._running:
                call, since = self._running[place]
                self._running[place] = call, since + perf_counter_ns() - began

        return ends

    def _switch(self, place: tuple[int, int], call: OpenCall | None, now: int) -> None:
        before, since = self._running.pop(place, (None, now))
        if before is not None:
            self._backwards[before][1] += now - since
        if call is not None:
            self._backwards.setdefault(call, [now, 0])
        self._running[place] = call, now

    def _backward_ends(self, task: int) -> None:
        now = perf_counter_ns()
        for place in [place for place in self._running if place[0] == task]:
            self._switch(place, None, now)
            del self._running[place]
            self._nodes.pop(place, None)

    def _notice_failures(self) -> None:
        """A node that has begun and not ended, while no pass runs, has raised: keep what is known of it.

        Of passes within each other, as a reentrant checkpoint makes them, the innermost has begun last.
        """
        if graph_task() != -1:
            return
        failed = list(self._nodes.values())
        self._running.clear()
        self._nodes.clear()
        self._followed.clear()
        if failed:
            self._failures.append(failure_of(*failed[-1]))


def _why_without_grad(frame: FrameType | None) -> WithoutGrad:
    """What has turned gradients off since the call around began, as the frames tell it."""
    if torch.is_inference_mode_enabled():
        return "inference_mode"
    while frame is not None and is_ours(frame.f_code):
        frame = frame.f_back
    while frame is not None and frame.f_code is not REENTRANT_CODE and not is_boundary(frame.f_code):
        frame = frame.f_back
    return "checkpoint" if frame is not None and frame.f_code is REENTRANT_CODE else "no_grad"


def _kind_of_fault(gradient: Gradient) -> Fault | None:
    if gradient.norm is None:
        return "none" if gradient.requires_grad else None
    return "non-finite" if gradient.nan or gradient.inf else None if gradient.norm else "zero"


def gradients_of(model: nn.Module) -> tuple[Gradient, ...]:
    """Every parameter with what is in its `.grad` now; those left out whose gradient has no values to look at.

    Of a distributed gradient it is the part on this rank, as other ranks need not be here to count theirs.
    """
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
        gradient = part_here(gradient)  # to look at the whole would have the ranks talk to each other
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
