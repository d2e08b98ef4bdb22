"""The weights of one model into another: by name, and into a port by where the modules that hold them run."""

from __future__ import annotations

import copy
from collections.abc import Container, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy

from fwdtrace.compare.align import align_holders
from fwdtrace.compare.names import renamed
from fwdtrace.compare.runs import Runnable
from fwdtrace.models.randomness import seed_all
from fwdtrace.recorder import record
from fwdtrace.trace import Trace
from fwdtrace.trace.text import first_few

State = Mapping[str, Tensor]

MOST_NAMED = 3


def copy_weights(before: Runnable, after: Runnable, maps: Sequence[str] = (), seed: int = 0) -> str:
    """Copy the parameters and buffers of the first model into the second; say what was copied and what was not.

    They go by their names after the maps. If some have no namesake, copies of both models are run. What two modules
    hold that run in the same place then goes by its last name, or by a shape that nothing else in the module has; and a
    matrix that is left over goes by a shape that no other such matrix has.
    """
    source, target = _state(before), _state(after)
    origins = _by_name(source, target, maps)
    by_name = len(origins)
    used = set(origins.values())
    if by_name < min(len(source), len(target)):
        held, other_held = _by_holder(source), _by_holder(target)
        for path, other_path in _places(before, after, maps, seed):
            ours = _without(held.get(path, {}), used)
            theirs = _without(other_held.get(other_path, {}), origins)
            pairs = _by_last_name(ours, theirs)
            pairs |= _by_shape(_without(ours, set(pairs.values())), _without(theirs, pairs))
            origins |= pairs
            used.update(pairs.values())
        origins |= _by_shape(_matrices(_without(source, used)), _matrices(_without(target, origins)))
        used.update(origins.values())
    copies = {name: source[old] for name, old in origins.items()}
    after.model.load_state_dict({**after.model.state_dict(), **copies})
    text = f"{len(origins)} of {len(target)} weights of the second are copies of the first's"
    if len(origins) > by_name:
        text += f", {len(origins) - by_name} of them by where they are used"
    text += _listed("left as they were", _without(target, origins))
    return text + _listed("of the first not used", _without(source, used))


def _state(runnable: Runnable) -> State:
    """The parameters and buffers that have a shape by now; a module may put anything else into its state dict too."""
    state = runnable.model.state_dict()
    return {name: value for name, value in state.items() if isinstance(value, Tensor) and not is_lazy(value)}


def _by_name(source: State, target: State, maps: Sequence[str]) -> dict[str, str]:
    """The name in the first model of each weight of the second that has a namesake of its shape there."""
    old_names = renamed({name: name for name in source}, maps)
    return {
        name: old_names[name]
        for name, tensor in target.items()
        if name in old_names and source[old_names[name]].shape == tensor.shape
    }


def _places(before: Runnable, after: Runnable, maps: Sequence[str], seed: int) -> list[tuple[str, str]]:
    """The paths of the modules that run in the same place; nothing if a model cannot be copied or does not run."""
    try:
        pairs = align_holders(_trial(before, seed), _trial(after, seed), maps)
    except Exception:  # the models are the user's; what they raise is said when they are compared
        return []
    paths = ((call.path, other.path) for call, other in pairs)
    return list(dict.fromkeys((one, other) for one, other in paths if one is not None and other is not None))


def _trial(runnable: Runnable, seed: int) -> Trace:
    runnable = copy.deepcopy(runnable)  # a run may change buffers and inputs
    seed_all(seed)
    with torch.no_grad(), record(runnable.model) as recording:
        runnable.model(*runnable.args, **runnable.kwargs)
    return recording.trace


def _by_holder(state: State) -> dict[str, dict[str, Tensor]]:
    """What each module holds itself, by its path."""
    holders: dict[str, dict[str, Tensor]] = {}
    for name, tensor in state.items():
        holders.setdefault(name.rpartition(".")[0], {})[name] = tensor
    return holders


def _without(state: State, names: Container[str]) -> State:
    return {name: tensor for name, tensor in state.items() if name not in names}


def _matrices(state: State) -> State:
    return {name: tensor for name, tensor in state.items() if tensor.dim() > 1}


def _by_last_name(ours: State, theirs: State) -> dict[str, str]:
    """For each name of theirs the one of ours that has the same last part and the same shape."""
    known = {(name.rpartition(".")[2], tensor.shape): name for name, tensor in ours.items()}
    keys = {name: (name.rpartition(".")[2], tensor.shape) for name, tensor in theirs.items()}
    return {name: known[key] for name, key in keys.items() if key in known}


def _by_shape(ours: State, theirs: State) -> dict[str, str]:
    """For each name of theirs the one of ours that has the same shape, if no other on its side has that shape."""
    one, other = (
        {shape: names[0] for shape, names in _names_by_shape(state).items() if len(names) == 1}
        for state in (ours, theirs)
    )
    return {other[shape]: name for shape, name in one.items() if shape in other}


def _names_by_shape(state: State) -> dict[torch.Size, list[str]]:
    names: dict[torch.Size, list[str]] = {}
    for name, tensor in state.items():
        names.setdefault(tensor.shape, []).append(name)
    return names


def _listed(what: str, state: State) -> str:
    if not state:
        return ""
    return f"; {len(state)} {what}: {first_few(list(state), MOST_NAMED)}"
