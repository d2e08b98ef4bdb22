"""The weights of one model into another: by name where all have one, else by running both and checking each module."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import nn

from fwdtrace.compare.names import renamed
from fwdtrace.compare.two_models.light_copy import CannotCopyError
from fwdtrace.compare.two_models.outputs import outputs_of
from fwdtrace.compare.two_models.recorded import Once, Runnable
from fwdtrace.compare.weight_map import Move, Piece, WeightMap
from fwdtrace.compare.weights.by_running import moved_by_running
from fwdtrace.compare.weights.left_over import left_over
from fwdtrace.compare.weights.results import results_with
from fwdtrace.compare.weights.settled import Moves
from fwdtrace.compare.weights.units import state_of
from fwdtrace.compare.weights.weight_values import State
from fwdtrace.compare.weights.written import written
from fwdtrace.trace.text import first_few

MOST_NAMED = 3


def copy_weights(
    before: Runnable,
    after: Runnable,
    maps: Sequence[str] = (),
    seed: int = 0,
    ran: tuple[Once, Once] | None = None,
) -> WeightMap:
    """Copy the parameters and buffers of the first model into the second; say what was copied and what was not.

    If every weight of the second has a namesake of its shape, after the maps, they go by name. Else copies of both
    models run: each module of the second that holds weights is given those of the modules of the first that are given
    the same, or that run in the same place under a like name, and is checked with them. What is left goes by its name
    or by a shape that nothing else has. `ran` has the runs of both, if each may run now, the second once it has its
    weights; both then share the memory of what is moved as it is.
    """
    source, target = _as_it_is(before.model), state_of(after.model)
    moves = _by_name(source, target, maps)
    if len(moves) < len(target):
        try:
            return moved_by_running(source, before, after, moves if maps else {}, seed, ran)
        except (CannotCopyError, RuntimeError):  # torch raises the latter where tensors of a kind cannot do something
            if ran is not None:
                ran[1].forget()
            moves |= left_over(source, target, moves)
    return written(moves.values(), source, after.model, share=ran is not None)


def apply(moves: Iterable[Move], first: nn.Module, second: nn.Module) -> WeightMap:
    """Write the moved weights into the second model; a move that does not fit is left out."""
    return written(moves, state_of(first), second)


def in_words(weights: WeightMap) -> str:
    """What was moved and what was not."""
    text = f"{len(weights.moves)} of {weights.of} weights of the second are copies of the first's"
    checked = sum(move.proof == "run" for move in weights.moves)
    if checked:
        text += f", {checked} of them checked by the same input through both modules"
    text += _listed("left as they were", weights.left) + _listed("of the first not used", weights.unused)
    return text + _listed("could be others as well", weights.ambiguous)


def those_that_matter(runnable: Runnable, names: Sequence[str], seed: int) -> tuple[str, ...]:
    """Those of the weights by these names that the results of the model depend on, found by changing each."""
    floating = [
        name for name, tensor in state_of(runnable.model).items() if name in names and tensor.is_floating_point()
    ]
    if not floating:
        return ()
    before = results_with(runnable, seed, {})

    def matters(some: Sequence[str]) -> bool:
        after = results_with(runnable, seed, dict.fromkeys(some, None))
        return before is not None and after is not None and outputs_of(before, after).equal is False

    if not matters(floating):
        return ()
    return tuple(floating) if len(floating) > MOST_NAMED else tuple(name for name in floating if matters([name]))


def _by_name(source: State, target: State, maps: Sequence[str]) -> Moves:
    """The moves of the weights of the second model that have a namesake of their shape in the first."""
    old_names = renamed({name: name for name in source}, maps)
    return {
        name: Move(name, (Piece(old_names[name]),))
        for name, tensor in target.items()
        if name in old_names and source[old_names[name]].shape == tensor.shape
    }


def _as_it_is(model: nn.Module) -> State:
    """The state of a model, with copies of the buffers, which a run may write into."""
    buffers = {name for name, _ in model.named_buffers(remove_duplicate=False)}
    return {name: tensor.clone() if name in buffers else tensor for name, tensor in state_of(model).items()}


def _listed(what: str, names: Sequence[str]) -> str:
    if not names:
        return ""
    return f"; {len(names)} {what}: {first_few(list(names), MOST_NAMED)}"
