"""The weights of one model into another: by name, and into a port by where the modules that hold them run."""

from __future__ import annotations

import copy
from collections.abc import Container, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy

from fwdtrace.compare.align import align_weights, renamed
from fwdtrace.compare.runs import Side
from fwdtrace.models.randomness import seed_all
from fwdtrace.recorder import record
from fwdtrace.trace import Trace

State = Mapping[str, Tensor]

MOST_NAMED = 3


def copy_weights(before: Side, after: Side, maps: Sequence[str] = (), seed: int = 0) -> str:
    """Copy the parameters and buffers of the first model into the second, and say what was copied and what was left.

    They go by their names after the maps. If some have no namesake, copies of both models are run, and what two modules
    hold that run in the same place goes by its name in there, or by a shape that nothing else in there has; and so does
    a matrix that is left, by a shape that nothing else has.
    """
    source, target = _state(before), _state(after)
    new_names = renamed({name: name for name in source}, maps)
    origins = {
        name: new_names[name]
        for name in target
        if name in new_names and source[new_names[name]].shape == target[name].shape
    }
    by_name = len(origins)
    used = set(origins.values())
    if by_name < min(len(source), len(target)):
        held, other_held = _by_holder(source), _by_holder(target)
        for path, other_path in _places(before, after, maps, seed):
            ours = _without(held.get(path, {}), used)
            theirs = _without(other_held.get(other_path, {}), origins)
            found = _by_last_name(ours, theirs)
            found |= _by_shape(_without(ours, set(found.values())), _without(theirs, found))
            origins |= found
            used.update(found.values())
        matrices = [
            {name: tensor for name, tensor in state.items() if tensor.dim() > 1}
            for state in (_without(source, used), _without(target, origins))
        ]
        origins |= _by_shape(*matrices)
        used.update(origins.values())
    copies = {name: source[old] for name, old in origins.items()}
    after.model.load_state_dict({**after.model.state_dict(), **copies})
    text = f"{len(origins)} of {len(target)} weights of the second are copies of the first's"
    if len(origins) > by_name:
        text += f", {len(origins) - by_name} of them by where they are used"
    return (
        text
        + _left("left as they were", _without(target, origins))
        + _left("of the first not used", _without(source, used))
    )


def _state(side: Side) -> State:
    """The parameters and buffers that have a shape by now; a module may put anything else into its state dict too."""
    state = side.model.state_dict()
    return {name: value for name, value in state.items() if isinstance(value, Tensor) and not is_lazy(value)}


def _places(before: Side, after: Side, maps: Sequence[str], seed: int) -> list[tuple[str, str]]:
    """The paths of the modules that run in the same place; nothing if a model cannot be copied or does not run."""
    try:
        pairs = align_weights(_trial(before, seed), _trial(after, seed), maps)
    except Exception:  # the models are the user's; what they raise is told when they are compared
        return []
    paths = ((call.path, other.path) for call, other in pairs)
    return list(dict.fromkeys((one, other) for one, other in paths if one is not None and other is not None))


def _trial(side: Side, seed: int) -> Trace:
    side = copy.deepcopy(side)  # a run may change buffers and inputs
    seed_all(seed)
    with torch.no_grad(), record(side.model) as recording:
        side.model(*side.args, **side.kwargs)
    return recording.trace


def _by_holder(state: State) -> dict[str, dict[str, Tensor]]:
    """What each module holds itself, by its path."""
    found: dict[str, dict[str, Tensor]] = {}
    for name, tensor in state.items():
        found.setdefault(name.rpartition(".")[0], {})[name] = tensor
    return found


def _without(state: State, names: Container[str]) -> State:
    return {name: tensor for name, tensor in state.items() if name not in names}


def _by_last_name(ours: State, theirs: State) -> dict[str, str]:
    known = {(name.rpartition(".")[2], tensor.shape): name for name, tensor in ours.items()}
    keys = {name: (name.rpartition(".")[2], tensor.shape) for name, tensor in theirs.items()}
    return {name: known[key] for name, key in keys.items() if key in known}


def _by_shape(ours: State, theirs: State) -> dict[str, str]:
    """Those whose shape no other on the same side has."""
    one, other = (
        {shape: names for shape, names in _shapes(state).items() if len(names) == 1} for state in (ours, theirs)
    )
    return {other[shape][0]: names[0] for shape, names in one.items() if shape in other}


def _shapes(state: State) -> dict[torch.Size, list[str]]:
    found: dict[torch.Size, list[str]] = {}
    for name, tensor in state.items():
        found.setdefault(tensor.shape, []).append(name)
    return found


def _left(what: str, state: State) -> str:
    if not state:
        return ""
    return f"; {len(state)} {what}: {', '.join(list(state)[:MOST_NAMED])}{', …' if len(state) > MOST_NAMED else ''}"
