"""Two snapshots of the same step -> what differs, as one Difference each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from torch import Tensor

from fwdtrace.compare.difference import Difference, Severity
from fwdtrace.compare.direct.leaves import same_leaf
from fwdtrace.compare.direct.step import Snapshot, StepError
from fwdtrace.compare.direct.words import graph_in_words, leaf_in_words, outcome_in_words, size_in_words
from fwdtrace.compare.numbers.tensors import distance_of_tensors, local
from fwdtrace.trace.text import plural


def differences_of(called: Snapshot, direct: Snapshot, call: str, entry: str) -> Iterator[Difference]:
    """What differs between two snapshots; `call` and `entry` say how each side was run, `model(x)` and the like."""
    if called.raised is not None or direct.raised is not None:
        if called.raised != direct.raised:
            yield _raised(called.raised, direct.raised, call, entry)
        return
    yield from _outputs(called.outputs, direct.outputs, call, entry)
    yield from _gradients(called.gradients, direct.gradients, "gradient", call, entry)
    yield from _gradients(called.input_gradients, direct.input_gradients, "input-gradient", call, entry)
    yield from _unsynchronised(called, direct, call, entry)
    yield from _buffers(called.buffers, direct.buffers, call, entry)
    if not called.random.same_as(direct.random):
        message = f"{entry} drew other random numbers than {call}"
        yield Difference("random-state", "numbers", "", "one state", "another", message)
    if called.training != direct.training:
        message = f"training flags: {called.training} by {call}, {direct.training} by {entry}"
        yield Difference("training", "numbers", "", called.training, direct.training, message)
    if called.graph != direct.graph:
        one, other = graph_in_words(called), graph_in_words(direct)
        nodes = _only_in(called.graph, direct.graph)
        message = f"the autograd graph is {one} by {call} and {other} by {entry}{nodes}"
        yield Difference("autograd-graph", "observation", "", one, other, message)


def _raised(called: StepError | None, direct: StepError | None, call: str, entry: str) -> Difference:
    one, other = outcome_in_words(called), outcome_in_words(direct)
    if direct is None:
        message = f"{call} raises {one}, and {entry} does not"
    elif called is None:
        message = f"{entry} raises {other}, and {call} does not"
    else:
        message = f"{entry} raises {other}, and {call} raises {one}"
    return Difference("exception", "exception", "", one, other, message)


def _outputs(called: dict[str, Any], direct: dict[str, Any], call: str, entry: str) -> Iterator[Difference]:
    for name in dict.fromkeys((*called, *direct)):
        place = name.lstrip(".")
        what = f"output {place}" if place else "the output"
        if name not in called or name not in direct:
            side, leaf = (call, called[name]) if name in called else (entry, direct[name])
            message = f"{what} ({leaf_in_words(leaf)}) is given by {side} only"
            yield Difference("output", "numbers", place, *_there(name in called), message)
            continue
        one, other = called[name], direct[name]
        if not same_leaf(one, other):
            severity, text = _unequal(one, other)
            message = f"{what} {text}"
            yield Difference("output", severity, place, leaf_in_words(one), leaf_in_words(other), message)
        elif getattr(one, "requires_grad", False) != getattr(other, "requires_grad", False):
            before, after = str(one.requires_grad), str(other.requires_grad)
            message = f"{what} has requires_grad={before} from {call} and {after} from {entry}"
            yield Difference("requires-grad", "gradients", place, before, after, message)


def _gradients(
    called: dict[str, Tensor | None], direct: dict[str, Tensor | None], kind: str, call: str, entry: str
) -> Iterator[Difference]:
    for name in dict.fromkeys((*called, *direct)):
        one, other = called.get(name), direct.get(name)
        if one is None and other is None:
            continue
        if one is None or other is None:
            has, has_not = (call, entry) if other is None else (entry, call)
            message = f"{name} gets a gradient from {has} and silently none from {has_not}"
            yield Difference(f"missing-{kind}", "gradients", name, size_in_words(one), size_in_words(other), message)
        elif not same_leaf(one, other):
            severity, text = _unequal(one, other)
            message = f"the gradient of {name} {text}"
            if severity != "rounding":
                severity = "gradients"
                message += _factor(one, other, call)
            if type(one) is not type(other):
                message += f"; it is a {type(one).__name__} from {call} and a {type(other).__name__} from {entry}"
            yield Difference(kind, severity, name, size_in_words(one), size_in_words(other), message)


def _factor(called: Tensor, direct: Tensor, call: str) -> str:
    """How many times as large the called side's gradient is, if that is all that the two differ in."""
    one, other = local(called), local(direct)
    if one.shape != other.shape or one.dtype != other.dtype or not one.is_floating_point() or not other.any():
        return ""
    factor = float(one.norm() / other.norm())
    is_all = distance_of_tensors(one, other * factor).close
    return f", as {call} makes it {factor:.4g} times as large" if is_all else ""


def _unsynchronised(called: Snapshot, direct: Snapshot, call: str, entry: str) -> Iterator[Difference]:
    names = [name for name, same in direct.on_all_ranks.items() if called.on_all_ranks.get(name) and not same]
    if names:
        have = "has" if len(names) == 1 else "have"
        message = (
            f"gradients are not synchronised: of {plural(len(direct.on_all_ranks), 'parameter')}, {len(names)} {have} "
            f"another gradient on each rank after {entry}, none after {call}"
        )
        yield Difference("unsynchronised", "gradients", names[0], "equal on all ranks", "differ by rank", message)


def _buffers(called: dict[str, Tensor], direct: dict[str, Tensor], call: str, entry: str) -> Iterator[Difference]:
    for name in dict.fromkeys((*called, *direct)):
        if name not in called or name not in direct:
            side = call if name in called else entry
            message = f"buffer {name} is there after {side} only"
            yield Difference("buffer", "numbers", name, *_there(name in called), message)
        elif not same_leaf(called[name], direct[name]):
            one, other = called[name], direct[name]
            severity, text = _unequal(one, other)
            if one.numel() == other.numel() == 1:
                text = f"is {one.item():.4g} after {call} and {other.item():.4g} after {entry}"
            message = f"buffer {name} {text}"
            yield Difference("buffer", severity, name, size_in_words(one), size_in_words(other), message)


def _there(on_called_side: bool) -> tuple[str, str]:
    return ("there", "missing") if on_called_side else ("missing", "there")


def _unequal(one: Any, other: Any) -> tuple[Severity, str]:
    """How severe it is that two leaves are not the same, and in which way they are not."""
    tensors = isinstance(one, Tensor) and isinstance(other, Tensor)
    if not tensors or one.dtype != other.dtype or local(one).shape != local(other).shape:
        return "numbers", f"is {leaf_in_words(other)} instead of {leaf_in_words(one)}"
    distance = distance_of_tensors(one, other)
    severity: Severity = "rounding" if distance.close else "numbers"
    if distance.absolute is None:
        return severity, "is NaN or infinite on one side only"
    return severity, f"differs by up to {distance.absolute:.3g}"


def _only_in(called: tuple[str, ...], direct: tuple[str, ...]) -> str:
    """The nodes of the autograd graph that one side alone has, in words."""
    lost, added = Counter(called) - Counter(direct), Counter(direct) - Counter(called)
    parts = []
    if lost:
        parts.append(f"without {', '.join(sorted(lost)[:3])}")
    if added:
        parts.append(f"with {', '.join(sorted(added)[:3])}")
    return f", {' and '.join(parts)}" if parts else ", in another order"
