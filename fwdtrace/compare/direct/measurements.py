"""Two snapshots of the same step -> everything that was compared, a Measurement each, also where it is the same."""

from __future__ import annotations

from typing import Any

from fwdtrace.compare.direct.comparison import Measurement
from fwdtrace.compare.direct.leaves import same_leaf
from fwdtrace.compare.direct.step import Snapshot
from fwdtrace.compare.direct.words import graph_in_words, outcome_in_words, outputs_in_words, ranks_in_words

SAME = "bit-identical"


def measurements_of(called: Snapshot, direct: Snapshot) -> tuple[Measurement, ...]:
    """Everything that was compared of a called and a direct step; the outcome alone if one of them raised."""
    if called.raised is not None or direct.raised is not None:
        same = called.raised == direct.raised
        return (Measurement("outcome", outcome_in_words(called.raised), outcome_in_words(direct.raised), same),)
    measures = [_of_leaves("output", outputs_in_words(called.outputs), called.outputs, direct.outputs)]
    if called.graph or direct.graph:
        measures += _of_gradients(called, direct)
    if called.on_all_ranks:
        same = called.on_all_ranks == direct.on_all_ranks
        measures.append(Measurement("gradients on all ranks", ranks_in_words(called), ranks_in_words(direct), same))
    buffers = f"{len(called.buffers)}" if called.buffers else "there are none"
    measures.append(_of_leaves("buffers", buffers, called.buffers, direct.buffers))
    same = called.random.same_as(direct.random)
    drawn = "numbers drawn" if called.drew else "none drawn"
    measures.append(Measurement("random state", drawn, SAME if same else "another", same))
    same = called.training == direct.training
    measures.append(Measurement("training flags", called.training, direct.training, same))
    return tuple(measures)


def _of_gradients(called: Snapshot, direct: Snapshot) -> list[Measurement]:
    """What backward works on and what it leaves: the autograd graph and the gradients."""
    same = called.graph == direct.graph
    nodes = "the same nodes" if same else graph_in_words(direct)
    measures = [
        Measurement("grad_fn", called.grad_fn, direct.grad_fn, called.grad_fn == direct.grad_fn),
        Measurement("autograd graph", graph_in_words(called), nodes, same),
        _of_leaves("gradients", _existing(called.gradients, "parameters"), called.gradients, direct.gradients),
    ]
    if called.input_gradients:
        text = _existing(called.input_gradients, "inputs")
        measures.append(_of_leaves("input gradients", text, called.input_gradients, direct.input_gradients))
    return measures


def _of_leaves(what: str, text: str, called: dict[str, Any], direct: dict[str, Any]) -> Measurement:
    """Whether named leaves are the same on both sides; `text` says what the called side has."""
    unequal = [name for name in dict.fromkeys((*called, *direct)) if not _same(called, direct, name)]
    if not unequal:
        return Measurement(what, text, SAME, True)
    if what == "output":
        other = outputs_in_words(direct)
        return Measurement(what, text, other if other != text else "other numbers", False)
    missing = [name for name in unequal if called.get(name) is not None and direct.get(name) is None]
    counts = ((len(unequal) - len(missing), "differ"), (len(missing), "missing"))
    return Measurement(
        what, text, ", ".join(f"{count} of {len(called)} {how}" for count, how in counts if count), False
    )


def _same(called: dict[str, Any], direct: dict[str, Any], name: str) -> bool:
    if name not in called or name not in direct:
        return False
    one, other = called[name], direct[name]
    return same_leaf(one, other) and getattr(one, "requires_grad", None) == getattr(other, "requires_grad", None)


def _existing(gradients: dict[str, Any], owners: str) -> str:
    existing = sum(gradient is not None for gradient in gradients.values())
    return f"{existing} of {len(gradients)} {owners}"
