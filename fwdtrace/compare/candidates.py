"""Which weights of the first model a unit of the second may get: whole, in parts or together, the likeliest first."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from fwdtrace.compare.contents import Content, content_of
from fwdtrace.compare.name_parts import ORDER, likeness, template
from fwdtrace.compare.units import CLOSE, Part, State, Unit, parts_of
from fwdtrace.compare.weight_map import Move, Piece

_SPELLINGS = {"gamma": "weight", "g": "weight", "scale": "weight", "beta": "bias", "b": "bias"}
_FUSED = (("q", "k", "v"), ("gate", "up"), ("k", "v"))
_BY_NAME = 3.0
"""The likeness from which on two names speak of the same."""


@dataclass(frozen=True)
class Candidate:
    """Some weights for a unit. `rank` says how likely they are, `distance` how far from the last that were moved.

    `gave` and `result` are what the counterpart gave, `given` what it was given, as far as known.
    """

    moves: tuple[Move, ...]
    name: str
    order: int
    rank: tuple[bool, bool, bool, float]
    distance: float
    gave: Content | None
    result: Tensor | None
    given: tuple[Tensor, ...]

    @property
    def same_input(self) -> bool:
        """Whether the unit was given what the counterpart was given."""
        return self.rank[0]

    @property
    def by_name(self) -> bool:
        """Whether the names speak of the same."""
        return self.rank[2] or self.rank[3] >= _BY_NAME


@dataclass
class Known:
    """The units of the first model, and what of its weights has been used; `state` is its state dict."""

    units: list[Unit]
    parts: dict[str, list[Part]]
    state: State
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

    def _rows(self, piece: Piece) -> tuple[int, int]:
        if piece.start is not None and piece.stop is not None:
            return piece.start, piece.stop
        return 0, max(1, self.state[piece.name].numel())

    @property
    def free_parts(self) -> Iterator[Part]:
        """The parts of all units that nothing has used."""
        return (part for parts in self.parts.values() for part in parts if self.is_free(part.weight))


def known_of(units: list[Unit], model: nn.Module, state: State) -> Known:
    """What is known of the first model before anything is moved."""
    return Known(units, {unit.path: parts_of(unit, model.get_submodule(unit.path), state) for unit in units}, state)


def candidates_for(
    unit: Unit, module: nn.Module, state: State, given: Sequence[Content], known: Known
) -> list[Candidate]:
    """What the unit may get, the likeliest first; `given` are the contents of what it is given."""
    parts = parts_of(unit, module, state)
    found = [*_whole(unit, parts, state, given, known)]
    if len(parts) == 1:
        found += _single(parts[0], unit, given, known)
    elif parts:
        found += _gathered(parts, unit, given, known)
    return sorted(found, key=lambda each: (*each.rank, -each.distance), reverse=True)


def _whole(unit: Unit, parts: list[Part], state: State, given: Sequence[Content], known: Known) -> Iterator[Candidate]:
    """All of another unit."""
    for other in known.units:
        theirs = known.parts[other.path]
        if len(parts) == len(theirs) == 1:
            moves, complete = _moves_of_part(parts[0], theirs[0]), len(unit.names) == len(other.names)
        else:
            moves, complete = _moves_by_name(unit, other, state, known)
        if moves and all(known.is_free(piece) for move in moves for piece in move.pieces):
            same = _same_first(given, other.given_contents)
            yield _candidate(unit, known, moves, other, complete, same, other.gave_content, other.gave)


def _moves_of_part(part: Part, other: Part) -> tuple[Move, ...]:
    if part.rows != other.rows or math.prod(part.columns) != math.prod(other.columns):
        return ()
    return _moves(part, [(other.weight, other.bias)])


def _moves(part: Part, pieces: Sequence[tuple[Piece, Piece | None]]) -> tuple[Move, ...]:
    """The moves that make a matrix with its bias of pieces."""
    moves = [Move(part.weight.name, tuple(weight for weight, _ in pieces), part.weight.transposed)]
    biases = tuple(bias for _, bias in pieces if bias is not None)
    if part.bias is not None and len(biases) == len(pieces):
        moves.append(Move(part.bias.name, biases))
    return tuple(moves)


def _moves_by_name(unit: Unit, other: Unit, state: State, known: Known) -> tuple[tuple[Move, ...], bool]:
    """The weights of one unit for those of another, by their last names, or else by a shape that only one has."""
    left = {_spelling(name): full for name, full in other.names.items()}
    moves: list[Move] = []
    missing = []
    for name, target in unit.names.items():
        source = left.get(_spelling(name))
        if source is not None and _fits(known.state[source], state[target]):
            moves.append(Move(target, (Piece(source),)))
            del left[_spelling(name)]
        else:
            missing.append(target)
    for target in list(missing):
        fitting = [name for name, source in left.items() if _fits(known.state[source], state[target])]
        if len(fitting) == 1 and sum(_fits(state[target], state[each]) for each in missing) == 1:
            moves.append(Move(target, (Piece(left.pop(fitting[0])),)))
            missing.remove(target)
    return tuple(moves), not missing and not left


def _spelling(name: str) -> str:
    head, dot, last = name.rpartition(".")
    last = last.removesuffix("_l0")
    return head + dot + _SPELLINGS.get(last, last)


def _fits(source: Tensor, target: Tensor) -> bool:
    return [size for size in source.shape if size != 1] == [size for size in target.shape if size != 1]


def _single(part: Part, unit: Unit, given: Sequence[Content], known: Known) -> Iterator[Candidate]:
    """For a unit with one matrix: a part of another, some rows of one, or several together."""
    width = math.prod(part.columns)
    single = _plays_one_role(part)
    together = []
    for other in known.free_parts:
        if math.prod(other.columns) != width:
            continue
        same = _same_first(given, other.given)
        if other.role is not None and other.rows == part.rows:
            yield _of_part(part, unit, known, other, (other.weight, other.bias), same, other.gave, None)
        if same and other.rows < part.rows and not single:
            together.append(other)
    for parts in known.parts.values():
        for other in parts:
            if _plays_one_role(other):
                continue
            if other.rows > part.rows and math.prod(other.columns) == width and _same_first(given, other.given):
                yield from _rows(part, unit, known, other)
    yield from _together(part, unit, known, together)


def _plays_one_role(part: Part) -> bool:
    """Whether the name says that the matrix is one of those that are often fused, and not all of them."""
    return bool(part.roles & {"q", "k", "v"}) and not part.roles & {"qkv", "kv"}


def _rows(part: Part, unit: Unit, known: Known, other: Part) -> Iterator[Candidate]:
    """As many rows of a larger matrix as the part has, where its role says, or else the first that are free."""
    order = [role for role in ("q", "k", "v", "gate", "up") if role in part.roles]
    last, size = other.rows - part.rows, part.rows
    starts = {"q": 0, "gate": 0, "up": last, "v": last, "k": 0 if last == size else last - size}
    wanted = [starts[role] for role in order] or list(range(0, last + 1, size))
    for start in wanted:
        piece = _sliced(other.weight, start, start + size)
        if start < 0 or not known.is_free(piece):
            continue
        bias = _sliced(other.bias, start, start + size) if other.bias is not None else None
        result = _slice_of(other.unit.gave, other.rows, start, start + size)
        gave = content_of(result) if result is not None else None
        yield _of_part(part, unit, known, other, (piece, bias), True, gave, result, named=bool(order))
        return


def _sliced(piece: Piece, start: int, stop: int) -> Piece:
    first = piece.start or 0
    return Piece(piece.name, first + start, first + stop, piece.transposed)


def _slice_of(tensor: Tensor | None, rows: int, start: int, stop: int) -> Tensor | None:
    """The part of a result that some rows of the matrix have made."""
    if tensor is None or not tensor.dim():
        return None
    if tensor.shape[-1] == rows:
        return tensor[..., start:stop]
    return tensor[:, start:stop] if tensor.dim() > 1 and tensor.shape[1] == rows else None


def _together(part: Part, unit: Unit, known: Known, others: list[Part]) -> Iterator[Candidate]:
    """Several matrices that are given the same, one below the other."""
    choices = []
    for roles in _FUSED:
        by_role = [[other for other in others if role in other.roles] for role in roles]
        if all(len(each) == 1 for each in by_role):
            choices.append((True, [each[0] for each in by_role]))
    choices.append((False, sorted(others, key=lambda other: other.unit.order)))
    for named, chosen in choices:
        if len(chosen) < 2 or sum(other.rows for other in chosen) != part.rows:
            continue
        moves = _moves(part, [(other.weight, other.bias) for other in chosen])
        results = [other.unit.gave for other in chosen if other.role is None and other.unit.gave is not None]
        whole = torch.cat([result.reshape(-1) for result in results]) if len(results) == len(chosen) else None
        gave = content_of(whole) if whole is not None else None
        rank = True, len(moves) == len(unit.names), named, _BY_NAME if named else 0.0
        last = chosen[-1].unit
        yield Candidate(moves, last.path, last.order, rank, 0.0, gave, None, chosen[0].unit.given)
        return


def _gathered(parts: list[Part], unit: Unit, given: Sequence[Content], known: Known) -> Iterator[Candidate]:
    """For a unit with several matrices: each from wherever its role is played."""
    pieces: dict[str, list[tuple[int, Piece]]] = {}
    taken: list[str] = []
    last: Part | None = None
    for place, part in enumerate(parts):
        of = given[place : place + 1] or given[-1:] if part.role in ("q", "k", "v") else ()
        best = _player(part, of, known, taken, last)
        if best is None:
            return
        other, weight, bias = best
        taken.append(f"{weight.name}:{weight.start}")
        last = other
        pieces.setdefault(part.weight.name, []).append((part.weight.start or 0, weight))
        if part.bias is not None and bias is not None:
            pieces.setdefault(part.bias.name, []).append((part.bias.start or 0, bias))
    moves = tuple(
        Move(name, tuple(piece for _, piece in sorted(rows, key=lambda row: row[0]))) for name, rows in pieces.items()
    )
    assert last is not None
    gave = last.gave if parts[-1].role == "o" else None
    rank = bool(given) and parts[0].role == "q", len(moves) == len(unit.names), False, _BY_NAME
    result = last.unit.gave if gave is not None else None
    yield Candidate(moves, last.unit.path, last.unit.order, rank, 0.0, gave, result, ())


def _player(
    part: Part, given: Sequence[Content], known: Known, taken: Sequence[str], last: Part | None
) -> tuple[Part, Piece, Piece | None] | None:
    """The matrix of the first model that plays the role of a part, or the rows of one."""
    found: list[tuple[tuple[bool, bool, float], Part, Piece, Piece | None]] = []
    after = last.unit.order if last is not None else known.cursor
    for other in known.free_parts:
        if math.prod(other.columns) != math.prod(part.columns) or f"{other.weight.name}:None" in taken:
            continue
        same = _same_first(given, other.given)
        if given and not same:
            continue
        distance = -abs(other.unit.order - after - 0.5)
        role = part.role in other.roles
        if other.rows == part.rows:
            found.append(((role, same, distance), other, other.weight, other.bias))
        elif given and other.rows == 3 * part.rows and part.role in ORDER:
            start = ORDER.index(part.role) * part.rows
            weight = _sliced(other.weight, start, start + part.rows)
            bias = _sliced(other.bias, start, start + part.rows) if other.bias is not None else None
            found.append(((True, same, distance), other, weight, bias))
    if not found:
        return None
    _, other, weight, bias = max(found, key=lambda row: row[0])
    return other, weight, bias


def _of_part(
    part: Part,
    unit: Unit,
    known: Known,
    other: Part,
    pieces: tuple[Piece, Piece | None],
    same: bool,
    gave: Content | None,
    result: Tensor | None,
    named: bool = False,
) -> Candidate:
    moves = _moves(part, [pieces])
    alike = _BY_NAME + 0.5 if named or (other.role is not None and other.role in part.roles) else 0.0
    if other.role is not None:
        alike += likeness(part.name, other.unit.path) / 10
    rank = same, len(moves) == len(unit.names), False, alike
    result = result if result is not None or gave is None else other.unit.gave
    return Candidate(moves, other.name, other.unit.order, rank, _distance(known, other.unit), gave, result, ())


def _candidate(
    unit: Unit,
    known: Known,
    moves: tuple[Move, ...],
    other: Unit,
    complete: bool,
    same: bool,
    gave: Content | None,
    result: Tensor | None,
) -> Candidate:
    is_known = known.templates.get(template(moves[0].target)) == template(moves[0].pieces[0].name)
    rank = same, complete, is_known, likeness(unit.path, other.path)
    return Candidate(moves, other.path, other.order, rank, _distance(known, other), gave, result, other.given)


def _distance(known: Known, unit: Unit) -> float:
    """How far a unit is from the last that was used; one before it is further than any after it."""
    ahead = unit.order - known.cursor
    return float(ahead) if ahead >= 0 else 1e6 - ahead


def _same_first(given: Sequence[Content], other: Sequence[Content]) -> bool:
    return bool(given) and bool(other) and given[0].same_elements(other[0], CLOSE)
