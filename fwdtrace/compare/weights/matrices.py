"""The matrices of a module of the second model from those of several of the first: rows of one, or many together."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from fwdtrace.compare.numbers.contents import Content
from fwdtrace.compare.weight_map import Move, Piece
from fwdtrace.compare.weights.known import BY_NAME, Candidate, Known, same_first
from fwdtrace.compare.weights.spellings import ORDER, likeness
from fwdtrace.compare.weights.units import Part, Sample, Unit
from fwdtrace.compare.weights.whole_units import moves_of

_FUSED = (("q", "k", "v"), ("gate", "up"), ("k", "v"))


def one_matrix(
    part: Part, unit: Unit, given: Sequence[Content], known: Known, others: Sequence[Unit]
) -> Iterator[Candidate]:
    """For a unit with one matrix: a part of another, some rows of one, or several together."""
    width = math.prod(part.columns)
    single = _plays_one_role(part)
    together = []
    for other in known.free_parts(others):
        if math.prod(other.columns) != width:
            continue
        same = same_first(given, other.given)
        if other.role is not None and other.rows == part.rows and not _plays_another(part, other.role):
            yield _of_part(part, unit, known, other, (other.weight, other.bias), same, other.gave)
        if same and other.rows < part.rows and not single:
            together.append(other)
    for each in others:
        for other in known.parts[each.path]:
            if _plays_one_role(other):
                continue
            if other.rows > part.rows and math.prod(other.columns) == width and same_first(given, other.given):
                yield from _rows(part, unit, known, other)
    yield from _together(part, unit, known, together)


def _plays_one_role(part: Part) -> bool:
    """Whether the name says that the matrix is one of those that are often fused, and not all of them."""
    return bool(part.roles & {"q", "k", "v"}) and not part.roles & {"qkv", "kv"}


def _plays_another(part: Part, role: str) -> bool:
    """Whether the name says that the matrix is another one of those that are often fused."""
    return _plays_one_role(part) and role in ("q", "k", "v") and role not in part.roles


def _rows(part: Part, unit: Unit, known: Known, other: Part) -> Iterator[Candidate]:
    """As many rows of a larger matrix as the part has, where its role says, or else the first that are free."""
    order = [role for role in ("q", "k", "v", "gate", "up") if role in part.roles]
    last, size = other.rows - part.rows, part.rows
    starts = {"q": 0, "gate": 0, "up": last, "v": last, "k": 0 if last == size else last - size}
    wanted = [starts[role] for role in order] or known.gaps(other.weight, last, size)
    for start in wanted:
        piece = _sliced(other.weight, start, start + size)
        if start < 0 or not known.is_free(piece):
            continue
        bias = _sliced(other.bias, start, start + size) if other.bias is not None else None
        result = _slice_of(other.unit.gave, other.rows, start, start + size)
        gave = Sample(result) if result is not None else None
        yield _of_part(part, unit, known, other, (piece, bias), True, gave, named=bool(order))
        return


def _sliced(piece: Piece, start: int, stop: int) -> Piece:
    first = piece.start or 0
    return Piece(piece.name, first + start, first + stop, piece.transposed)


def _slice_of(sample: Sample | None, rows: int, start: int, stop: int) -> Tensor | None:
    """The part of a result that some rows of the matrix have made."""
    if sample is None or not sample.tensor.dim():
        return None
    tensor = sample.tensor
    if tensor.shape[-1] == rows:
        return tensor[..., start:stop]
    return tensor[:, start:stop] if tensor.dim() > 1 and tensor.shape[1] == rows else None


def _together(part: Part, unit: Unit, known: Known, others: list[Part]) -> Iterator[Candidate]:
    """Several matrices that are given the same, one below the other: those of one module or of some side by side."""
    groups: dict[str, list[Part]] = {}
    for other in others:
        path = other.unit.path if other.role else other.unit.path.rpartition(".")[0]
        groups.setdefault(path, []).append(other)
    found = [_of_group(part, unit, known, group) for group in groups.values()]
    yield from filter(None, found if any(found) else [_of_group(part, unit, known, others)])


def _of_group(part: Part, unit: Unit, known: Known, others: list[Part]) -> Candidate | None:
    choices = []
    for roles in _FUSED:
        by_role = [[other for other in others if role in other.roles] for role in roles]
        if all(len(each) == 1 for each in by_role):
            choices.append((True, [each[0] for each in by_role]))
    choices.append((False, sorted(others, key=lambda other: other.unit.order)))
    for named, chosen in choices:
        if len(chosen) < 2 or sum(other.rows for other in chosen) != part.rows:
            continue
        moves = moves_of(part, [(other.weight, other.bias) for other in chosen])
        results = [other.unit.gave.tensor for other in chosen if other.role is None and other.unit.gave is not None]
        whole = torch.cat([result.reshape(-1) for result in results]) if len(results) == len(chosen) else None
        gave = Sample(whole) if whole is not None else None
        rank = True, len(moves) == len(unit.names), named, BY_NAME if named else 0.0
        last = chosen[-1].unit
        distance = known.distance(last)
        return Candidate(moves, last.path, last.order, rank, distance, gave, chosen[0].unit.given_tensors)
    return None


def several_matrices(parts: list[Part], unit: Unit, given: Sequence[Content], known: Known) -> Iterator[Candidate]:
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
    rank = bool(given) and parts[0].role == "q", len(moves) == len(unit.names), False, BY_NAME
    yield Candidate(moves, last.unit.path, last.unit.order, rank, 0.0, gave, ())


def _player(
    part: Part, given: Sequence[Content], known: Known, taken: Sequence[str], last: Part | None
) -> tuple[Part, Piece, Piece | None] | None:
    """The matrix of the first model that plays the role of a part, or the rows of one."""
    found: list[tuple[tuple[bool, bool, float], Part, Piece, Piece | None]] = []
    after = last.unit.order if last is not None else known.cursor
    for other in known.free_parts(known.units):
        if math.prod(other.columns) != math.prod(part.columns) or f"{other.weight.name}:None" in taken:
            continue
        same = same_first(given, other.given)
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
    gave: Sample | None,
    named: bool = False,
) -> Candidate:
    moves = moves_of(part, [pieces])
    alike = BY_NAME + 0.5 if named or (other.role is not None and other.role in part.roles) else 0.0
    if other.role is not None:
        alike += likeness(part.name, other.unit.path) / 10
    rank = same, len(moves) == len(unit.names), False, alike
    return Candidate(moves, other.name, other.unit.order, rank, known.distance(other.unit), gave, ())
