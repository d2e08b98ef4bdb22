"""The matrices of all experts of a layer, stored as one weight by one model and each by itself by the other."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from fwdtrace.compare.weight_map import Move, Piece
from fwdtrace.compare.weights.spellings import roles_of, template
from fwdtrace.compare.weights.weight_values import State

_NUMBER = re.compile(r"\.\d+(?=\.|$)")
_LAST = re.compile(r"\.\d+(?=\.|$)(?!.*\.\d+(\.|$))")


def stacked(source: State, target: State, free: Sequence[str], left: Sequence[str]) -> dict[str, Move]:
    """Moves for what is `left` of the target from what is `free` of the source, where one side stacks matrices.

    Their names must be the same in all layers, and no other may be of their shapes. Where two matrices are one below
    the other in a stack, a name must say which is the gate, which comes first.
    """
    ours, theirs = _stacks(free, source), _alone(left, target)
    found = {
        name: Move(name, (Piece(stack, row, row + size, stacked=True),), transposed, proof="place")
        for stack, name, row, size, transposed in _rows(ours, theirs, source, target)
    }
    ours, theirs = _stacks([name for name in left if name not in found], target), _alone(free, source)
    parts: dict[str, list[tuple[int, Piece]]] = {}
    for stack, name, row, _, transposed in _rows(ours, theirs, target, source):
        parts.setdefault(stack, []).append((row, Piece(name, transposed=transposed)))
    for stack, pieces in parts.items():
        found[stack] = Move(stack, tuple(piece for _, piece in sorted(pieces, key=lambda row: row[0])), proof="place")
    return found


def _rows(
    stacks: Mapping[str, list[str]], alone: Mapping[str, list[list[str]]], of: State, others: State
) -> Iterator[tuple[str, str, int, int, bool]]:
    """Each matrix with its stack, the first of its rows there, how many there are, and whether it is turned around."""
    for names in stacks.values():
        count, rows, columns = of[names[0]].shape
        for transposed in (False, True):
            shapes = {True: (columns, rows), False: (rows, columns)}
            whole = [each for each in alone.values() if _fits(each, names, count, others, shapes[transposed])]
            half = (rows // 2, columns) if not transposed else (columns, rows // 2)
            halves = [each for each in alone.values() if _fits(each, names, count, others, half)]
            groups = whole if len(whole) == 1 else _gate_first(halves) if not whole and not rows % 2 else []
            if not groups:
                continue
            size = rows // len(groups)
            for place, group in enumerate(groups):
                for stack, matrices in zip(names, group, strict=True):
                    for number, name in enumerate(matrices):
                        yield stack, name, number * rows + place * size, size, transposed
            break


def _gate_first(groups: list[list[list[str]]]) -> list[list[list[str]]]:
    """The two groups, that of the gate first; nothing if the names do not say which that is."""
    gates = ["gate" in roles_of(group[0][0]) for group in groups]
    return sorted(groups, key=lambda group: -gates[groups.index(group)]) if sorted(gates) == [False, True] else []


def _fits(group: list[list[str]], stacks: list[str], count: int, state: State, shape: tuple[int, int]) -> bool:
    """Whether there are as many layers and as many matrices in each, all of this shape."""
    return len(group) == len(stacks) and all(
        len(names) == count and all(tuple(state[name].shape) == shape for name in names) for names in group
    )


def _stacks(names: Sequence[str], state: State) -> dict[str, list[str]]:
    """The weights of three dimensions, by their names in all layers."""
    found: dict[str, list[str]] = {}
    for name in names:
        if state[name].dim() == 3 and state[name].is_floating_point():
            found.setdefault(template(name), []).append(name)
    return found


def _alone(names: Sequence[str], state: State) -> dict[str, list[list[str]]]:
    """The matrices by their names in all layers: for each layer those that differ in the last number alone."""
    layers: dict[str, list[str]] = {}
    for name in names:
        if state[name].dim() == 2 and state[name].is_floating_point():
            layers.setdefault(_LAST.sub(".#", name), []).append(name)
    found: dict[str, list[list[str]]] = {}
    for name, matrices in layers.items():
        found.setdefault(_NUMBER.sub(".#", name), []).append(matrices)
    return found
