"""WeightMap: which weights of one model are which of another, as parts, transposed or together; and its JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from fwdtrace.errors import FwdtraceError
from fwdtrace.trace.files import replacing

FORMAT = "fwdtrace.weights/1"


@dataclass(frozen=True, slots=True)
class Piece:
    """A weight of the first model, or rows of it; `transposed` if its rows are the columns of what is stored."""

    name: str
    start: int | None = None
    stop: int | None = None
    transposed: bool = False


@dataclass(frozen=True, slots=True)
class Move:
    """How one weight of the second model is made of those of the first: of `pieces`, one below the other.

    `transposed` says that the result is stored the other way around. With `heads`, the rows of the pieces take turns
    head by head. Last the result gets the shape of the target. `proof` says how it is known: by its `name`, by its
    `place`, or because both modules gave the same on the same input (`run`).
    """

    target: str
    pieces: tuple[Piece, ...]
    transposed: bool = False
    heads: int | None = None
    proof: str = "name"

    def value(self, source: Mapping[str, Tensor], shape: Sequence[int]) -> Tensor:
        """The weight; RuntimeError if it cannot have this shape."""
        parts = [_piece(source[piece.name], piece) for piece in self.pieces]
        if self.heads is not None:
            parts = [part.unflatten(0, (self.heads, -1)) for part in parts]
            whole = torch.cat(parts, 1).flatten(0, 1)
        else:
            whole = parts[0] if len(parts) == 1 else torch.cat(parts)
        if self.transposed:
            whole = whole.t()
        return whole.reshape(tuple(shape))


def _piece(tensor: Tensor, piece: Piece) -> Tensor:
    if piece.transposed:
        tensor = tensor.t()
    return tensor if piece.start is None else tensor[piece.start : piece.stop]


@dataclass(frozen=True, slots=True)
class WeightMap:
    """The moves, the names of the second model's weights that got none, and of the first's that went nowhere.

    `ambiguous` names those of the second for which several of the first would do.
    """

    moves: tuple[Move, ...]
    left: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    ambiguous: tuple[str, ...] = ()

    def save(self, file: Path) -> None:
        """Write the map as JSON; OSError if that cannot be done."""
        rows = ",\n  ".join(json.dumps(asdict(move)) for move in self.moves)
        rest = ", ".join(f'"{name}": {json.dumps(getattr(self, name))}' for name in ("left", "unused", "ambiguous"))
        with replacing(file) as path:
            path.write_text(f'{{"format": "{FORMAT}",\n "moves": [\n  {rows}],\n {rest}}}\n', encoding="utf-8")


def read_map(file: Path) -> WeightMap:
    """The map in a file that `--save-map` wrote; FwdtraceError if it is none."""
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        if document["format"] != FORMAT:
            raise ValueError
        moves = tuple(
            Move(**{**row, "pieces": tuple(Piece(**piece) for piece in row["pieces"])}) for row in document["moves"]
        )
        return WeightMap(moves, *(tuple(document[name]) for name in ("left", "unused", "ambiguous")))
    except OSError as error:
        raise FwdtraceError(f"--map {file}: cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise FwdtraceError(f"--map {file}: was not written by --save-map") from None
