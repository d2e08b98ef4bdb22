"""What is known of the weights of the first model while they are moved: where they were used, and what is free."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor, nn

from fwdtrace.compare.numbers.contents import Content, Contents, content_of
from fwdtrace.compare.weight_map import Move, Piece
from fwdtrace.compare.weights.spellings import likeness, template
from fwdtrace.compare.weights.units import CLOSE, Part, Sample, State, Unit, parts_of
from fwdtrace.compare.weights.weight_values import Made

BY_NAME = 3.0
"""The likeness from which on two names speak of the same."""


@dataclass(frozen=True)
class Candidate:
    """Some weights for a unit. `rank` says how likely they are, `distance` how far from the last that were moved.

    `gave` is what the counterpart gave, `given` what it was given, as far as known.
    """

    moves: tuple[Move, ...]
    name: str
    order: int
    rank: tuple[bool, bool, bool, float]
    distance: float
    gave: Sample | None
    given: tuple[Tensor, ...]

    @property
    def same_input(self) -> bool:
        """Whether the unit was given what the counterpart was given."""
        return self.rank[0]

    @property
    def by_name(self) -> bool:
        """Whether the names speak of the same."""
        return self.rank[2] or self.rank[3] >= BY_NAME


@dataclass
class Known:
    """The units of the first model, and what of its weights has been used; `state` is its state dict.

    `made` has what was made of its weights so far.
    """

    units: list[Unit]
    parts: dict[str, list[Part]]
    state: State
    made: Made
    used: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    templates: dict[str, str] = field(default_factory=dict)
    cursor: int = -1

    def take(self, candidate: Candidate, unit: Unit, proved: bool) -> None:
        """Note that the weights of a candidate are used, by this unit."""
        for move in candidate.moves:
            self.templates.setdefault(template(move.target), template(move.pieces[0].name))
            for piece in move.pieces:
                self.used.setdefault(piece.name, []).append(self._rows(piece))
        if proved or candidate.same_input or self.cursor < candidate.order:
            self.cursor = candidate.order

    def start(self, moves: Iterable[Move]) -> None:
        """Note that these weights are used before anything runs."""
        for move in moves:
            for piece in move.pieces:
                self.used.setdefault(piece.name, []).append(self._rows(piece))

    def is_free(self, piece: Piece) -> bool:
        """Whether nothing has used these rows."""
        start, stop = self._rows(piece)
        return not any(start < end and begin < stop for begin, end in self.used.get(piece.name, ()))

    def gaps(self, piece: Piece, last: int, size: int) -> list[int]:
        """Where so many rows of a matrix may begin: at multiples, and right after what is used of it."""
        ends = [end - (piece.start or 0) for _, end in self.used.get(piece.name, ())]
        return sorted({*range(0, last + 1, size), *(end for end in ends if 0 < end <= last)})

    def _rows(self, piece: Piece) -> tuple[int, int]:
        if piece.start is not None and piece.stop is not None:
            return piece.start, piece.stop
        return 0, max(1, self.state[piece.name].numel())

    def free_parts(self, units: Iterable[Unit]) -> Iterator[Part]:
        """The parts of these units that nothing has used."""
        return (part for unit in units for part in self.parts[unit.path] if self.is_free(part.weight))

    def with_and_without(self, given: Sequence[Content]) -> tuple[list[Unit], list[Unit]]:
        """The units that were given the first of these, in whatever place, and all others."""
        orders = {order for content in given[:1] for order, _ in self._given.like(content)}
        return [unit for unit in self.units if unit.order in orders], [
            unit for unit in self.units if unit.order not in orders
        ]

    def distance(self, unit: Unit) -> float:
        """How far a unit is from the last that was used; one before it is further than any after it."""
        ahead = unit.order - self.cursor
        return float(ahead) if ahead >= 0 else 1e6 - ahead

    def candidate(self, unit: Unit, other: Unit, moves: tuple[Move, ...], *, complete: bool, same: bool) -> Candidate:
        """All of a unit of the first for one of the second."""
        is_known = self.templates.get(template(moves[0].target)) == template(moves[0].pieces[0].name)
        rank = same, complete, is_known, likeness(unit.path, other.path)
        return Candidate(moves, other.path, other.order, rank, self.distance(other), other.gave, other.given_tensors)

    def content_of(self, tensor: Tensor) -> Content:
        """What a tensor holds; what a unit was given bit for bit is known already."""
        form = tensor.shape, tensor.dtype, tensor.device
        same = (sample for sample in self._samples.get(form, ()) if torch.equal(sample.tensor, tensor))
        found = next(same, None)
        return found.content if found is not None else content_of(tensor)

    @cached_property
    def _samples(self) -> dict[tuple[object, ...], list[Sample]]:
        found: dict[tuple[object, ...], list[Sample]] = {}
        for sample in (sample for unit in self.units for sample in unit.given):
            found.setdefault((sample.tensor.shape, sample.tensor.dtype, sample.tensor.device), []).append(sample)
        return found

    @cached_property
    def _given(self) -> Contents:
        return Contents(((content, unit.order) for unit in self.units for content in unit.given_contents), CLOSE)


def known_of(units: list[Unit], model: nn.Module, state: State, made: Made) -> Known:
    """What is known of the first model before anything is moved."""
    parts = {unit.path: parts_of(unit, model.get_submodule(unit.path), state) for unit in units}
    return Known(units, parts, state, made)


def same_first(given: Sequence[Content], other: Sequence[Content]) -> bool:
    """Whether the first of two is the same."""
    return bool(given) and bool(other) and given[0].same_elements(other[0], CLOSE)
