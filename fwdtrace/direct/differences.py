"""Two snapshots of the same step -> what was measured, and what differs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from textwrap import shorten
from typing import Any

import torch
from torch import Tensor

from fwdtrace.compare.comparison import Difference, Measure, Severity
from fwdtrace.direct.step import Raised, Snapshot
from fwdtrace.direct.values import is_rounding, largest_difference, local, same_bits

SAME = "bit-identical"
LONGEST_MESSAGE = 80


def measures_of(called: Snapshot, direct: Snapshot) -> tuple[Measure, ...]:
    """Everything that was compared, as one line each, also where it is the same."""
    if called.raised is not None or direct.raised is not None:
        same = called.raised == direct.raised
        return (Measure("outcome", _outcome(called.raised), _outcome(direct.raised), same),)
    measures = [_measured("output", _shapes(called.outputs), called.outputs, direct.outputs)]
    if called.graph or direct.graph:
        same = called.graph == direct.graph
        measures.append(Measure("grad_fn", called.grad_fn, direct.grad_fn, called.grad_fn == direct.grad_fn))
        graph = Measure("autograd graph", _nodes(called), "the same nodes" if same else _nodes(direct), same)
        measures.append(graph)
        existing = sum(gradient is not None for gradient in called.gradients.values())
        gradients = f"{existing} of {len(called.gradients)} parameters"
        measures.append(_measured("gradients", gradients, called.gradients, direct.gradients))
        if called.input_gradients:
            existing = sum(gradient is not None for gradient in called.input_gradients.values())
            text = f"{existing} of {len(called.input_gradients)} inputs"
            measures.append(_measured("input gradients", text, called.input_gradients, direct.input_gradients))
    if called.on_all_ranks:
        ranks = called.on_all_ranks == direct.on_all_ranks
        measures.append(Measure("gradients on all ranks", _ranks(called), _ranks(direct), ranks))
    measures.append(_measured("buffers", _count(called.buffers), called.buffers, direct.buffers))
    same = called.random.same_as(direct.random)
    drawn = "numbers drawn" if called.drew else "none drawn"
    measures.append(Measure("random state", drawn, SAME if same else "another", same))
    same = called.training == direct.training
    measures.append(Measure("training flags", called.training, direct.training, same))
    return tuple(measures)


def differences_of(called: Snapshot, direct: Snapshot, call: str, entry: str) -> Iterator[Difference]:
    """What differs between two snapshots; `call` and `entry` are how each side was run, `model(x)` and the like."""
    if called.raised is not None or direct.raised is not None:
        if called.raised != direct.raised:
            yield _raised(called.raised, direct.raised, call, entry)
        return
    yield from _outputs(called.outputs, direct.outputs, call, entry)
    yield from _gradients(called.gradients, direct.gradients, "gradient", call, entry)
    yield from _gradients(called.input_gradients, direct.input_gradients, "input-gradient", call, entry)
    yield from _ranks_apart(called, direct, call, entry)
    yield from _buffers(called.buffers, direct.buffers, call, entry)
    if not called.random.same_as(direct.random):
        message = f"{entry} drew other random numbers than {call}"
        yield Difference("random-state", "numbers", "", "one state", "another", message)
    if called.training != direct.training:
        message = f"training flags: {called.training} by {call}, {direct.training} by {entry}"
        yield Difference("training", "numbers", "", called.training, direct.training, message)
    if called.graph != direct.graph:
        apart = _only_in(called.graph, direct.graph)
        message = f"the autograd graph is {_nodes(called)} by {call} and {_nodes(direct)} by {entry}{apart}"
        yield Difference("autograd-graph", "observation", "", _nodes(called), _nodes(direct), message)


def described(tensor: Any) -> str:
    """A tensor by its shape and dtype, anything else by its repr."""
    if not isinstance(tensor, Tensor):
        return "none" if tensor is None else repr(tensor)
    shape = "×".join(map(str, tensor.shape)) or "scalar"
    return f"{shape} {str(tensor.dtype).removeprefix('torch.')}"


def _outputs(one: dict[str, Any], other: dict[str, Any], call: str, entry: str) -> Iterator[Difference]:
    for name in dict.fromkeys((*one, *other)):
        place = name.lstrip(".")
        what = f"output {place}" if place else "the output"
        if name not in one or name not in other:
            side, there = (call, one) if name in one else (entry, other)
            before, after = ("there", "missing") if name in one else ("missing", "there")
            message = f"{what} ({described(there[name])}) is given by {side} only"
            yield Difference("output", "numbers", place, before, after, message)
        elif not same_bits(one[name], other[name]):
            severity, text = _apart(one[name], other[name])
            message = f"{what} {text}"
            yield Difference("output", severity, place, described(one[name]), described(other[name]), message)
        elif getattr(one[name], "requires_grad", False) != getattr(other[name], "requires_grad", False):
            before, after = str(one[name].requires_grad), str(other[name].requires_grad)
            message = f"{what} has requires_grad={before} from {call} and {after} from {entry}"
            yield Difference("requires-grad", "gradients", place, before, after, message)


def _gradients(
    one: dict[str, Tensor | None], other: dict[str, Tensor | None], kind: str, call: str, entry: str
) -> Iterator[Difference]:
    for name in dict.fromkeys((*one, *other)):
        a, b = one.get(name), other.get(name)
        if a is None and b is None:
            continue
        if a is None or b is None:
            before, after = _norm(a), _norm(b)
            has, has_not = (call, entry) if b is None else (entry, call)
            message = f"{name} gets a gradient from {has} and silently none from {has_not}"
            yield Difference(f"missing-{kind}", "gradients", name, before, after, message)
        elif not same_bits(a, b):
            severity, text = _apart(a, b)
            severity = "rounding" if severity == "rounding" else "gradients"
            message = f"the gradient of {name} {text}{_ratio(a, b, call)}"
            if type(a) is not type(b):
                message += f"; it is a {type(a).__name__} from {call} and a {type(b).__name__} from {entry}"
            yield Difference(kind, severity, name, _norm(a), _norm(b), message)


def _ratio(one: Tensor, other: Tensor, call: str) -> str:
    """How many times as large the one is, if that is all that they differ in."""
    a, b = local(one), local(other)
    if a.shape != b.shape or a.dtype != b.dtype or not a.is_floating_point() or not b.any():
        return ""
    ratio = float(a.norm() / b.norm())
    return f", as {call} makes it {ratio:.4g} times as large" if is_rounding(b * ratio, a) else ""


def _ranks_apart(called: Snapshot, direct: Snapshot, call: str, entry: str) -> Iterator[Difference]:
    apart = [name for name, same in direct.on_all_ranks.items() if called.on_all_ranks.get(name) and not same]
    if apart:
        message = (
            f"gradients are not synchronised: of {len(direct.on_all_ranks)} parameters, {len(apart)} have another "
            f"gradient on each rank after {entry}, none after {call}"
        )
        yield Difference("unsynchronised", "gradients", apart[0], "equal on all ranks", "differ by rank", message)


def _buffers(one: dict[str, Tensor], other: dict[str, Tensor], call: str, entry: str) -> Iterator[Difference]:
    for name in dict.fromkeys((*one, *other)):
        if name not in one or name not in other:
            side = call if name in one else entry
            before, after = ("there", "missing") if name in one else ("missing", "there")
            yield Difference("buffer", "numbers", name, before, after, f"buffer {name} is there after {side} only")
        elif not same_bits(one[name], other[name]):
            a, b = one[name], other[name]
            severity, text = _apart(a, b)
            if a.numel() == b.numel() == 1:
                text = f"is {a.item():.4g} after {call} and {b.item():.4g} after {entry}"
            yield Difference("buffer", severity, name, _norm(a), _norm(b), f"buffer {name} {text}")


def _raised(one: Raised | None, other: Raised | None, call: str, entry: str) -> Difference:
    if other is None:
        message = f"{call} raises {_outcome(one)}, and {entry} does not"
    elif one is None:
        message = f"{entry} raises {_outcome(other)}, and {call} does not"
    else:
        message = f"{entry} raises {_outcome(other)}, and {call} raises {_outcome(one)}"
    return Difference("exception", "exception", "", _outcome(one), _outcome(other), message)


def _apart(one: Any, other: Any) -> tuple[Severity, str]:
    if not isinstance(one, Tensor) or not isinstance(other, Tensor):
        return "numbers", f"is {described(other)} instead of {described(one)}"
    if one.dtype != other.dtype or local(one).shape != local(other).shape:
        return "numbers", f"is {described(other)} instead of {described(one)}"
    text = f"differs by up to {largest_difference(one, other):.3g}"
    return ("rounding", text) if is_rounding(one, other) else ("numbers", text)


def _measured(what: str, text: str, one: dict[str, Any], other: dict[str, Any]) -> Measure:
    apart = [name for name in dict.fromkeys((*one, *other)) if not _same(one, other, name)]
    if not apart:
        return Measure(what, text, SAME, True)
    if what == "output":
        return Measure(what, text, _shapes(other) if text != _shapes(other) else "other numbers", False)
    missing = [name for name in apart if one.get(name) is not None and other.get(name) is None]
    counts = ((len(apart) - len(missing), "differ"), (len(missing), "missing"))
    return Measure(what, text, ", ".join(f"{count} of {len(one)} {how}" for count, how in counts if count), False)


def _same(one: dict[str, Any], other: dict[str, Any], name: str) -> bool:
    if name not in one or name not in other:
        return False
    a, b = one[name], other[name]
    return same_bits(a, b) and getattr(a, "requires_grad", None) == getattr(b, "requires_grad", None)


def _shapes(outputs: dict[str, Any]) -> str:
    tensors = [leaf for leaf in outputs.values() if isinstance(leaf, Tensor)]
    if len(tensors) == 1:
        return described(tensors[0])
    return f"{len(tensors)} tensors"


def _nodes(snapshot: Snapshot) -> str:
    return f"{len(snapshot.graph)} nodes"


def _only_in(one: tuple[str, ...], other: tuple[str, ...]) -> str:
    lost, added = Counter(one) - Counter(other), Counter(other) - Counter(one)
    parts = []
    if lost:
        parts.append(f"without {', '.join(sorted(lost)[:3])}")
    if added:
        parts.append(f"with {', '.join(sorted(added)[:3])}")
    return f", {' and '.join(parts)}" if parts else ", in another order"


def _ranks(snapshot: Snapshot) -> str:
    apart = sum(not same for same in snapshot.on_all_ranks.values())
    return f"{apart} of {len(snapshot.on_all_ranks)} differ" if apart else "all equal"


def _count(buffers: dict[str, Tensor]) -> str:
    return f"{len(buffers)}" if buffers else "there are none"


def _outcome(raised: Raised | None) -> str:
    if raised is None:
        return "a result"
    first = raised.message.strip().partition("\n")[0].partition(". ")[0].rstrip(".")
    if len(first) > LONGEST_MESSAGE:
        first = first.partition(" (")[0]
    return f"{raised.type} in {raised.where}: {shorten(first, LONGEST_MESSAGE, placeholder='…')}"


def _norm(tensor: Tensor | None) -> str:
    if tensor is None:
        return "none"
    if tensor.is_meta or tensor.is_quantized:
        return described(tensor)
    if tensor.numel() == 1:
        return f"{local(tensor).item():.4g}"
    return f"norm {float(torch.linalg.vector_norm(local(tensor).detach().float())):.4g}"
