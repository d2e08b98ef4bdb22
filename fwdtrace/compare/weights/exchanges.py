"""Which parts of the first model may change places in the second: those of the same shapes that are given the same."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from fwdtrace.compare.numbers.contents import Content
from fwdtrace.compare.weight_map import Move, Piece
from fwdtrace.compare.weights.first_uses import first_uses
from fwdtrace.compare.weights.named_parts import NamedPart, keys_of, part_of
from fwdtrace.compare.weights.pair import Pair
from fwdtrace.compare.weights.spellings import template
from fwdtrace.compare.weights.weight_values import State

MOST_PERMUTED = 4
"""Of more parts, only two at a time change places."""
_CLOSE = 1e-6


Exchange = Mapping[NamedPart, NamedPart]
"""For each part the one that takes its place."""


_Form = tuple[str, tuple[int, ...]]


@dataclass(frozen=True)
class _Group:
    """Parts that may change places, in the order of the first model, with those of the second that are made of each."""

    parts: tuple[NamedPart, ...]
    users: tuple[tuple[NamedPart, ...], ...]

    @property
    def form(self) -> tuple[object, ...]:
        """What is the same for the group in every layer."""
        return tuple((template(part.key), part.place, part.of) for part in self.parts)

    def allows(self, order: Sequence[int]) -> bool:
        """Whether no name speaks against this order, and none that speaks for its part loses it."""
        moved = [(place, self.parts[new]) for place, new in enumerate(order) if place != new]
        for place, new in moved:
            old = self.parts[place]
            for user in self.users[place]:
                meant = user.meant_among(self.parts)
                if user.tells_same(old) or user.tells_other(new) or meant not in (None, new):
                    return False
        return not any(
            order[one] > order[two] and self._are_of_lists(one, two, order)
            for one, two in itertools.combinations(range(len(order)), 2)
        )

    def _are_of_lists(self, one: int, two: int, order: Sequence[int]) -> bool:
        """Whether both are of one list in either model: these have one order."""
        new = self.parts[order[one]], self.parts[order[two]]
        return _is_list(new) and any(_is_list(pair) for pair in itertools.product(self.users[one], self.users[two]))


def exchanges_in(pair: Pair, moves: Iterable[Move]) -> list[list[Exchange]]:
    """For each kind of group, all exchanges that its names allow, each done in all layers, the smallest first."""
    alike: dict[object, list[_Group]] = {}
    for group in _groups(pair, moves):
        alike.setdefault(group.form, []).append(group)
    kinds = list(alike.values())
    rows: dict[object, list[_Group]] = {}
    for group in itertools.chain(*kinds):
        if all(part.of > 1 for part in group.parts):  # as the gates of two matrices of a recurrent layer
            rows.setdefault(tuple((part.place, part.of) for part in group.parts), []).append(group)
    together = [groups for groups in rows.values() if groups not in kinds]
    return [found for groups in (*together, *kinds) if (found := [*_exchanges(groups)])]


def _groups(pair: Pair, moves: Iterable[Move]) -> Iterator[_Group]:
    """The parts of the first that the moves use, of each kind and with the same data, where there are several.

    What has the data is run only where there are two that may change places.
    """
    keys, theirs = keys_of(pair.source), keys_of(pair.target)
    users: dict[NamedPart, dict[NamedPart, None]] = {}
    forms: dict[NamedPart, set[_Form]] = {}
    for move in moves:
        for place, piece in enumerate(move.pieces):
            if (part := part_of(piece, keys, pair.source)) is not None:
                users.setdefault(part, {})[NamedPart(theirs[move.target], place, len(move.pieces))] = None
                forms.setdefault(part, set()).add(_form(piece, part, pair.source))
    free = Counter(frozenset(forms[part]) for part, of in users.items() if not any(map(part.tells_same, of)))
    if max(free.values(), default=0) < 2:
        return iter(())
    data: dict[str, Content] = {}
    for name, use in first_uses(pair.steps).items():
        data.setdefault(keys.get(name, ""), use.data)
    begins = {key: place for place, key in reversed([*enumerate(keys.values())])}
    groups: list[list[NamedPart]] = []
    for part in sorted((part for part in users if part.key in data), key=lambda part: (begins[part.key], part.place)):
        for group in groups:
            content = data[group[0].key]
            if forms[group[0]] == forms[part] and content.same_elements(data[part.key], _CLOSE):
                group.append(part)
                break
        else:
            groups.append([part])
    return (_Group((*parts,), tuple((*users[part],) for part in parts)) for parts in groups if len(parts) > 1)


def exchanged(moves: Iterable[Move], exchange: Exchange, source: State) -> dict[str, Move]:
    """Those of the moves that are others after the exchange."""
    keys = keys_of(source)
    found = {}
    for move in moves:
        pieces = tuple(_exchanged(piece, part_of(piece, keys, source), exchange) for piece in move.pieces)
        if pieces != move.pieces:
            found[move.target] = replace(move, pieces=pieces)
    return found


def _exchanged(piece: Piece, part: NamedPart | None, exchange: Exchange) -> Piece:
    new = exchange.get(part) if part is not None else None
    if part is None or new is None:
        return piece
    name = new.key + piece.name[len(part.key) :]
    magnitude = new.key + piece.magnitude[len(part.key) :] if piece.magnitude is not None else None
    size = (piece.stop or 0) - (piece.start or 0)
    rows = (new.place * size, (new.place + 1) * size) if new.of > 1 else (None, None)
    return replace(piece, name=name, magnitude=magnitude, start=rows[0], stop=rows[1])


def _exchanges(groups: Sequence[_Group]) -> Iterator[Exchange]:
    count = len(groups[0].parts)
    if count <= MOST_PERMUTED:
        orders = [*itertools.permutations(range(count))]
    else:
        pairs = itertools.combinations(range(count), 2)
        orders = [tuple({one: two, two: one}.get(place, place) for place in range(count)) for one, two in pairs]
    for order in sorted(orders, key=lambda order: sum(place != new for place, new in enumerate(order))):
        if order != tuple(range(count)) and all(group.allows(order) for group in groups):
            yield {group.parts[place]: group.parts[new] for group in groups for place, new in enumerate(order)}


def _form(piece: Piece, part: NamedPart, source: State) -> _Form:
    """What the weight is called in its module, and the shape of what the part has of it."""
    rows, *others = reversed(source[piece.name].shape) if piece.transposed else source[piece.name].shape or (1,)
    return piece.name[len(part.key) :], (rows // part.of, *others, int(piece.transposed))


def _is_list(parts: tuple[NamedPart, NamedPart]) -> bool:
    """Whether both are of one list of modules or weights, by their names."""
    one, two = parts
    return one.of == two.of == 1 and one.key != two.key and template(one.key) == template(two.key)
