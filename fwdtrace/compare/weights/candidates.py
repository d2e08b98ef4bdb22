"""Which weights of the first model a unit of the second may get: whole, in parts or together, the likeliest first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import nn

from fwdtrace.compare.numbers.contents import Content
from fwdtrace.compare.weights.known import Candidate, Known
from fwdtrace.compare.weights.matrices import one_matrix, several_matrices
from fwdtrace.compare.weights.units import Part, State, Unit, parts_of
from fwdtrace.compare.weights.whole_units import whole_units


def candidates_for(
    unit: Unit, module: nn.Module, state: State, given: Sequence[Content], known: Known
) -> list[Candidate]:
    """What the unit may get, the likeliest first; `given` are the contents of what it is given.

    Units that were given something else are looked at only where none that was given the same can be had.
    """
    parts = parts_of(unit, module, state)
    with_same, others = known.with_and_without(given)
    found = list(_from(with_same, unit, parts, state, given, known))
    if not any(each.same_input for each in found):
        found += _from(others, unit, parts, state, given, known)
    if len(parts) > 1:
        found += several_matrices(parts, unit, given, known)
    return sorted(found, key=lambda each: (*each.rank, -each.distance), reverse=True)


def _from(
    others: Sequence[Unit], unit: Unit, parts: list[Part], state: State, given: Sequence[Content], known: Known
) -> Iterator[Candidate]:
    yield from whole_units(unit, parts, state, given, known, others)
    if len(parts) == 1:
        yield from one_matrix(parts[0], unit, given, known, others)
