"""NamedPart: the weights of a module, or rows of them, and what their name says that they are for."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from fwdtrace.compare.weight_map import Move, Piece
from fwdtrace.compare.weights.spellings import kind_of, roles_of, share_letters
from fwdtrace.compare.weights.weight_values import State

_FUSED = {"qkv": ("q", "k", "v"), "kv": ("k", "v"), "gate_up": ("gate", "up")}
_APART = frozenset("qkv"), frozenset(("gate", "up"))
"""What one weight cannot be for at the same time."""
_UNGATED = frozenset(("w1", "fc1", "c_fc", "lin1", "linear1", "intermediate", "dense_h_to_4h", "fc_in", "wi"))
"""Names that also the only matrix has that a feed-forward layer begins with."""


@dataclass(frozen=True, order=True)
class NamedPart:
    """The weights of a module, or one weight, by its name; of `of` equal parts of their rows, the one at `place`."""

    key: str
    place: int = 0
    of: int = 1

    @property
    def word(self) -> str:
        """The last part of the name that is no number."""
        return re.sub(r"(\.\d+)+$", "", self.key).rpartition(".")[2].lower()

    @property
    def roles(self) -> frozenset[str]:
        """What the name says that it is for; of the rows of a fused matrix, by their place."""
        roles = roles_of(self.word)
        if self.of == 1:
            return roles
        return frozenset(_FUSED[role][self.place] for role in roles & _FUSED.keys() if len(_FUSED[role]) == self.of)

    def tells_same(self, other: NamedPart) -> bool:
        """Whether the names speak of the same."""
        if self.roles or other.roles:
            return bool(self.roles & other.roles)
        return self.of == other.of == 1 and self.word == other.word

    def tells_other(self, other: NamedPart) -> bool:
        """Whether the names speak of two things, as of a query and a key."""
        ours, theirs = self.roles, other.roles
        if ours & theirs or self.word in _UNGATED or other.word in _UNGATED:
            return False
        return any(ours & apart and theirs & apart for apart in _APART)

    def meant_among(self, others: Collection[NamedPart]) -> NamedPart | None:
        """The only one of the others whose name has a word in common with this one; None if there is not one alone."""
        meant = [other for other in others if self.of == other.of == 1 and _share_word(self.word, other.word)]
        return meant[0] if len(meant) == 1 else None


def _share_word(one: str, other: str) -> bool:
    """Whether two names have a word in common, or one all letters of the other, as `log_var` and `fc_logvar`."""
    ours, theirs = (set(re.findall(r"[a-z]+", name)) for name in (one, other))
    return bool(ours & theirs) or share_letters(one, other)


def keys_of(state: State) -> dict[str, str]:
    """For each weight the module that has it, if that has one matrix at most, else the weight itself.

    What is called `in_proj_weight` goes with `in_proj_bias`.
    """
    matrices = Counter(name.rpartition(".")[0] for name, tensor in state.items() if tensor.dim() > 1)

    def key_of(name: str) -> str:
        holder, _, last = name.rpartition(".")
        if (named := re.sub(r"_(weight|bias)$", "", last)) != last:
            return f"{holder}.{named}" if holder else named
        return holder if holder and matrices[holder] < 2 else name

    return {name: key_of(name) for name in state}


def part_of(piece: Piece, keys: Mapping[str, str], source: State) -> NamedPart | None:
    """The part that a piece is of; None if its rows are of no equal parts."""
    if piece.name not in keys or piece.heads is not None or piece.norms or piece.stacked:
        return None
    if piece.start is None or piece.stop is None:
        return NamedPart(keys[piece.name])
    rows, size = source[piece.name].shape[1 if piece.transposed else 0], piece.stop - piece.start
    if rows % size or piece.start % size:
        return None
    return NamedPart(keys[piece.name], piece.start // size, rows // size)


def is_against(move: Move, source: State, keys: tuple[Mapping[str, str], Mapping[str, str]]) -> bool:
    """Whether names speak against a move: of a query and a key, or of a weight and a bias.

    `keys` has for each weight of both models what `keys_of` says.
    """
    kind = kind_of(move.target)
    for place, piece in enumerate(move.pieces):
        if kind is not None and kind_of(piece.name) not in (None, kind):
            return True
        part = part_of(piece, keys[0], source)
        if part is not None and NamedPart(keys[1][move.target], place, len(move.pieces)).tells_other(part):
            return True
    return False
