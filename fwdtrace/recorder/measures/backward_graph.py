"""The graph that backward runs through, in numbers alone: which steps lead where, and what each made of gradients."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Any

import torch
from torch import Tensor

from fwdtrace.recorder.measures.operands import non_finite_places, operand_of
from fwdtrace.recorder.measures.users_backward import UsersBackward
from fwdtrace.recorder.measures.values import has_values
from fwdtrace.recorder.notes import Note, OpenCall
from fwdtrace.recorder.torch_internals import (
    REENTRANT_NODE,
    Unseen,
    is_users_function,
    node_number,
    part_here,
    running_node,
    saved_in,
)
from fwdtrace.trace import Fault, GradientFault

_NONE, _ZERO, _FINE, _NON_FINITE = range(4)
"""What a gradient is; of several the largest counts."""
_FAULTS: dict[int, Fault] = {_NONE: "none", _ZERO: "zero", _NON_FINITE: "non-finite"}

Target = int | tuple[int] | None
"""Where an edge of the graph leads: to the node with this number, to the leaf with this identity, or nowhere."""


Found = tuple[Note | None, GradientFault]
"""A fault, and the call or op in whose backward it was made."""


@dataclass(slots=True)
class _Step:
    """A node of the graph: the call or op in which it was made, its edges, and what passed it when it ran.

    `given` is the state of the gradient along each edge, `faults` what the node made wrong there.
    """

    number: int
    owner: Note | None
    targets: tuple[Target, ...]
    order: int = -1
    task: int = -1
    taken: int = _NONE
    given: list[int] = field(default_factory=list)
    faults: dict[int, Found] = field(default_factory=dict)


Into = dict[Target, list[tuple[_Step, int]]]
"""By where it leads: each edge along which a gradient was given, as a step and the place among its edges."""


class BackwardGraph:
    """The nodes that were made while a model ran, by their numbers; holds no node and no tensor."""

    def __init__(self) -> None:
        self._steps: dict[int, _Step] = {}
        self._order = 0

    def __contains__(self, number: int) -> bool:
        return number in self._steps

    def add(self, number: int, node: Any, owner: Note | None) -> None:
        """Know a node, and where its edges lead."""
        self._steps[number] = _Step(number, owner, tuple(_target(after) for after, _ in node.next_functions))

    def owner(self, number: int) -> Note | None:
        """The call or op in which a node was made."""
        return self._steps[number].owner

    def begins(self, number: int, task: int) -> None:
        """A node is about to run in this backward pass."""
        step = self._steps[number]
        step.task = task
        if step.order < 0:
            step.order = self._order
            self._order += 1

    def ends(
        self, number: int, taken: Sequence[Any], given: Sequence[Any], followed: UsersBackward | None = None
    ) -> None:
        """It has run: `taken` are the gradients that came to it, `given` one for each of its edges.

        `followed` knows what happened in it, if it is of the user's.
        """
        step = self._steps[number]
        came = max(map(_state, taken), default=_NONE)
        states = [_state(gradient) for gradient in given]
        for place, state in enumerate(states):
            if step.targets[place : place + 1] in ((), (None,)) or place in step.faults:
                continue
            if state == _NON_FINITE > came or state <= _ZERO < came:
                if state == _NONE and not is_users_function(running_node()):
                    continue  # torch's own nodes give none where nobody asked for one
                step.faults[place] = self._inside(step, state) or (
                    step.owner,
                    _fault(state, step.order, given[place], taken, followed),
                )
        step.taken = max(step.taken, came)
        step.given = [max(pair) for pair in zip(step.given, states, strict=True)] if step.given else states

    def _inside(self, step: _Step, state: int) -> Found | None:
        """What went wrong in the pass that a node of a reentrant checkpoint runs by itself."""
        if running_node().name() != REENTRANT_NODE:
            return None
        later = sorted((each for each in self._steps.values() if each.order > step.order), key=lambda each: each.order)
        found = (found for each in later for found in each.faults.values())
        return next((each for each in found if each[1].kind == _FAULTS[state]), None)

    def led_to(self, number: int) -> Note | None:
        """Of another call of a root than the one in which a node was made: what led to it when it ran last, if any."""
        last = self._steps[number]
        before: dict[Target, list[_Step]] = {}
        for step in self._steps.values():
            for target in step.targets if step.task == last.task else ():
                before.setdefault(target, []).append(step)
        pending, met = deque([last]), {number}
        while pending:
            for step in before.get(pending.popleft().number, ()):
                if step.number in met:
                    continue
                if _outermost(step.owner) not in (None, _outermost(last.owner)):
                    return step.owner
                met.add(step.number)
                pending.append(step)
        return None

    def faults(self, spoiled: Iterable[tuple[str, int, Fault]]) -> Iterator[Found]:
        """Where the gradients of these parameters went wrong, with the call or op, in the order of backward.

        Each parameter is its name, its identity and what is wrong with its gradient.
        """
        into: Into = {}
        for step in self._steps.values():
            for place, _ in enumerate(step.given):
                into.setdefault(step.targets[place], []).append((step, place))
        parameters = list(spoiled)
        known = {(identity,) for _, identity, _ in parameters}
        stand_ins = [target for target in into if isinstance(target, tuple) and target not in known]
        causes: dict[int, tuple[Note | None, GradientFault, list[str]]] = {}
        for name, identity, kind in parameters:
            # A sharded parameter is in no graph: what it is gathered into for the call is there in its place.
            leaves = [(identity,)] if (identity,) in into or kind != "non-finite" else stand_ins
            for owner, fault in (found for leaf in leaves for found in self._causes(leaf, kind, into)):
                names = causes.setdefault(id(fault), (owner, fault, []))[2]
                if name not in names:
                    names.append(name)
        for owner, fault, names in sorted(causes.values(), key=lambda cause: cause[1].order):
            yield owner, replace(fault, parameters=tuple(names))

    def _causes(self, leaf: Target, kind: Fault, into: Into) -> Iterator[Found]:
        """The faults by which a leaf got a gradient of this kind; one without a node if it came to the model so."""
        bad = next(state for state, name in _FAULTS.items() if name == kind)
        pending, met = [leaf], {leaf}
        while pending:
            target = pending.pop()
            edges = into.get(target, ())
            if bad == _NON_FINITE and len(edges) == 1 and edges[0][0].given[edges[0][1]] in (_ZERO, _FINE):
                yield self._between(edges[0][0], target)
            for step, place in edges:
                if step.given[place] != bad:
                    continue
                found = step.faults.get(place)
                if found is not None and found[1].kind == kind:
                    yield found
                elif step.taken == bad and step.number not in into:
                    if kind != "none" and not _ran_in_backward(step.owner):
                        yield None, _OUTSIDE[kind]
                elif step.taken == bad and step.number not in met:
                    met.add(step.number)
                    pending.append(step.number)

    def _between(self, before: _Step, target: Target) -> Found:
        """A gradient that was finite when a step gave it, and was not where it arrived."""
        after = self._steps.get(target) if isinstance(target, int) else None
        if after is None:
            return before.owner, GradientFault("non-finite", before.order, between="parameter")
        return after.owner, GradientFault("non-finite", after.order, between="result")


def _ran_in_backward(note: Note | None) -> bool:
    """Whether backward made the call, so that what its result led to is not known."""
    outermost = _outermost(note)
    return type(outermost) is OpenCall and outermost.rare is not None and outermost.rare.in_backward


def _outermost(note: Note | None) -> Note | None:
    while note is not None and note.parent is not None:
        note = note.parent
    return note


def _target(node: Any) -> Target:
    if node is None:
        return None
    variable = getattr(node, "variable", None)
    return (id(variable),) if variable is not None else node_number(node)


_OUTSIDE: dict[Fault, GradientFault] = {kind: GradientFault(kind, 0) for kind in _FAULTS.values()}


def _state(gradient: Any) -> int:
    """One pass over the numbers tells all; what cannot be looked at counts as fine."""
    if gradient is None:
        return _NONE
    try:
        with Unseen():
            # The numbers of a subclass may be on other ranks, which would have to help in reading them.
            gradient = part_here(gradient)
            own = type(gradient).__torch_dispatch__ is Tensor.__torch_dispatch__
            if not own or not has_values(gradient) or gradient.numel() == 0:
                return _FINE
            numbers = gradient.coalesce().values() if gradient.is_sparse else gradient
            numbers = torch.view_as_real(numbers.resolve_conj()) if numbers.is_complex() else numbers
            low, high = (float(bound) for bound in torch.aminmax(numbers))
    except (RuntimeError, NotImplementedError):  # a layout or subclass that does not compute
        return _FINE
    if not (isfinite(low) and isfinite(high)):
        return _NON_FINITE
    return _ZERO if low == high == 0 else _FINE


def _fault(state: int, order: int, given: Any, taken: Sequence[Any], followed: UsersBackward | None) -> GradientFault:
    """What went wrong in the node that runs now, which gave this gradient."""
    node = running_node()
    maker = followed.maker_of(given) if followed is not None and state == _NON_FINITE else None
    given = part_here(given)
    name = node.name().rpartition("::")[2]
    if state == _NONE:
        return GradientFault("none", order, node=name)
    places = non_finite_places(given) if state == _NON_FINITE else None
    tensors = [*(("gradient", tensor) for tensor in taken if tensor is not None), *saved_in(node)]
    operands = tuple(filter(None, (operand_of(label, tensor, places) for label, tensor in tensors)))
    nan = inf = 0
    if places is not None:
        with Unseen():
            nan = int(given.isnan().sum())
            inf = int(places.sum()) - nan
    fault = GradientFault(_FAULTS[state], order, node=name, elements=given.numel(), nan=nan, inf=inf, operands=operands)
    return fault if maker is None else replace(fault, made_by=maker[0], site=maker[1])
