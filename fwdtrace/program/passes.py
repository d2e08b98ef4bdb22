"""Calls whose backward may follow: each with its moment, and the gradients that come to what it returned."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from types import CodeType
from typing import Any

import torch
from torch import Tensor

from fwdtrace.program.moment import Moment
from fwdtrace.program.roots import Root
from fwdtrace.program.scopes import Scope
from fwdtrace.recorder.frames import frame_role
from fwdtrace.recorder.measures.values import has_values
from fwdtrace.recorder.torch_internals import Unseen, dispatch_modes, torch_function_modes


class Pass:
    """A call of a root that has ended, its number, and what has come of it since.

    `outputs` are the tensors that it returned as long as the program holds them, and `sums` the sum of each of those
    that have one. `gradients` are those that came to them when the backward through the call began.
    `called_from` says which code of the program was running then, and `backward_from` which when backward began, with
    what its names were, if the gradients that came were not finite. `is_spoiled` says that what it returned is not
    finite, where that is reported only before the optimizer steps. `goes_on` says that its backward is part of the
    graph, as of a gradient penalty. `is_reported` says that what went wrong in its backward has been reported, and
    `is_blamed` that it was named as the cause.
    """

    __slots__ = (
        "__weakref__",
        "backward_from",
        "called_from",
        "goes_on",
        "gradients",
        "is_blamed",
        "is_reported",
        "is_spoiled",
        "moment",
        "number",
        "outputs",
        "root",
        "sums",
    )

    def __init__(self, root: Root, number: int, moment: Moment, outputs: Sequence[Tensor], sums: Sequence[Any]) -> None:
        self.root = root
        self.number = number
        self.moment = moment
        self.outputs = [(weakref.ref(tensor), tensor._version) for tensor in outputs]
        self.sums = sums
        self.called_from: tuple[tuple[CodeType, int], ...] = ()
        self.backward_from: tuple[Scope, ...] = ()
        self.is_spoiled = self.goes_on = self.is_reported = self.is_blamed = False
        self.gradients: list[Tensor | None] = [None] * len(outputs)

    def output(self) -> list[Tensor | float | None]:
        """What is left of what it returned, for a replay to be compared with."""
        alive = [(reference(), version) for reference, version in self.outputs]
        return [
            tensor if tensor is not None and tensor._version == version else None if number is None else float(number)
            for (tensor, version), number in zip(alive, self.sums, strict=True)
        ]


class _Held:
    """What the graph holds of a pass: all of it until backward comes there, then nothing."""

    __slots__ = ("awaited", "begun")

    def __init__(self, awaited: Pass) -> None:
        self.awaited: Pass | None = awaited
        self.begun: Callable[[], Pass | None] = lambda: None


Came = Callable[[Pass, Sequence[Tensor | None], bool], None]
"""Takes a pass and the gradients that have come to some of its outputs, and whether these are the first."""


def await_backward(awaited: Pass, outputs: Sequence[Tensor], came: Came) -> None:
    """Have this called as backward comes to what a call has returned; the graph keeps the pass alive until then.

    No tensor and no module gets a hook: the nodes of the graph do, which are gone with it.
    """
    by_node: dict[Any, list[tuple[int, int]]] = {}
    for place, tensor in enumerate(outputs):
        if tensor.grad_fn is not None:
            by_node.setdefault(tensor.grad_fn, []).append((place, tensor.output_nr))
    held = _Held(awaited)
    for node, places in by_node.items():
        node.register_prehook(_notes(held, places, came))


def _notes(held: _Held, places: list[tuple[int, int]], came: Came) -> Callable[[Any], None]:
    waiting = [True]

    @frame_role("stand-in")
    def note(given: tuple[Tensor | None, ...]) -> None:
        noted = held.awaited or held.begun()
        if noted is None:
            return
        if waiting:  # of a graph that is used twice, as for a penalty on gradients, those of the first backward count
            waiting.clear()
            for place, number in places:
                noted.gradients[place] = given[number]
        is_first = held.awaited is not None
        held.awaited, held.begun = None, weakref.ref(noted)
        came(noted, [given[number] for _, number in places], is_first)

    return note


def reach(start: Any, ends: set[Any]) -> set[Any]:
    """Which of these nodes of the graph backward comes to from another one, itself left out."""
    pending, met, reached = [start], {start}, set()
    while pending:
        for node, _ in pending.pop().next_functions:
            if node is None or node in met:
                continue
            met.add(node)
            pending.append(node)
            if node in ends:
                reached.add(node)
    return reached


def leaves_behind(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The tensors in which backward from these would leave gradients."""
    pending = [tensor.grad_fn for tensor in tensors if tensor.grad_fn is not None]
    met: set[Any] = set(pending)
    while pending:
        nodes = {node for node, _ in pending.pop().next_functions if node is not None} - met
        met |= nodes
        pending += nodes
    return [node.variable for node in met if node.name() == "torch::autograd::AccumulateGrad"]


def sum_of(tensor: Tensor) -> float | None:
    """The sum of the elements, which is not finite if one of them is not; None of what are no such numbers."""
    try:
        if type(tensor) is Tensor and not (torch_function_modes() or dispatch_modes()):
            return _sum(tensor.detach() if tensor.requires_grad else tensor)
        with Unseen():
            return _sum(tensor.detach())
    except (RuntimeError, NotImplementedError):  # a layout or subclass that cannot be summed: nothing is known
        return None


def _sum(tensor: Tensor) -> float | None:
    if tensor.is_floating_point():
        wide = torch.float32 if tensor.dtype.itemsize < 4 else None  # the sum of a small type may be beyond it
        return float(tensor.sum(dtype=wide)) if has_values(tensor) else None
    if not tensor.is_complex() or not has_values(tensor):
        return None
    total = tensor.sum()
    return float(total.real + total.imag)


def run_backward(outputs: Sequence[Tensor], gradients: Sequence[Tensor | None]) -> None:
    """Run backward from tensors to which these gradients came at first.

    A gradient is all that came to a tensor, also from others of them that were computed from it. So backward begins at
    those alone that no other was computed from, and gets to the rest what had come there.
    """
    by_node: dict[Any, dict[int, Tensor | None]] = {}
    for tensor, gradient in zip(outputs, gradients, strict=False):
        if tensor.grad_fn is not None:
            by_node.setdefault(tensor.grad_fn, {})[tensor.output_nr] = gradient
    nodes = {node for node, came in by_node.items() if any(each is not None for each in came.values())}
    inner = set().union(*(reach(node, nodes) for node in nodes)) if nodes else set()
    for node in inner:
        node.register_prehook(_replacing(by_node[node]))
    pairs = [
        (tensor, gradient)
        for tensor, gradient in zip(outputs, gradients, strict=False)
        if gradient is not None and tensor.grad_fn in nodes - inner
    ]
    if pairs:
        torch.autograd.backward([tensor for tensor, _ in pairs], [gradient for _, gradient in pairs])


def _replacing(came: dict[int, Tensor | None]) -> Callable[[Any], Any]:
    return lambda given: tuple(came.get(number, gradient) for number, gradient in enumerate(given))
