"""WeightMap: which weights of one model are which of another, in parts, transposed or together; its JSON. No torch."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from fwdtrace.compare.document import LEFT_OUT_IF_NONE
from fwdtrace.errors import FwdtraceError
from fwdtrace.trace.files import replacing

FORMAT = "fwdtrace.weights/1"


@dataclass(frozen=True, slots=True)
class Piece:
    """A weight of the first model, or the rows from `start` up to `stop`.

    With `transposed`, the columns of what is stored are the rows. With `heads`, several matrices take turns in it, head
    by head, and are put one below the other first. With `magnitude`, the weight stored under that name has the norms of
    what is stored here, as under weight norm. With `norms`, it is the norms themselves, one for each place along the
    dimension that the target has. With `stacked`, the rows are those of all matrices of it, one below the other.
    """

    name: str
    start: int | None = field(default=None, metadata=LEFT_OUT_IF_NONE)
    stop: int | None = field(default=None, metadata=LEFT_OUT_IF_NONE)
    transposed: bool = False
    heads: int | None = field(default=None, metadata=LEFT_OUT_IF_NONE)
    magnitude: str | None = field(default=None, metadata=LEFT_OUT_IF_NONE)
    norms: bool | None = field(default=None, metadata=LEFT_OUT_IF_NONE)
    stacked: bool | None = field(default=None, metadata=LEFT_OUT_IF_NONE)

    @property
    def names(self) -> tuple[str, ...]:
        """All weights of the first model that it is made of."""
        return (self.name,) if self.magnitude is None else (self.name, self.magnitude)


@dataclass(frozen=True, slots=True)
class Move:
    """How one weight of the second model is made of those of the first: of `pieces`, one below the other.

    With `heads`, the pieces take turns in it, head by head. `transposed` says that the result is stored the other way
    around; last it gets the `shape` of the target. `proof` is `run` if both modules gave the same on the same input,
    else what speaks for it: `name`, or `place`.
    """

    target: str
    pieces: tuple[Piece, ...]
    transposed: bool = False
    heads: int | None = field(default=None, metadata=LEFT_OUT_IF_NONE)
    proof: str = "name"
    shape: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class WeightMap:
    """The moves; what the second model has besides, in `left`, and the first in `unused`.

    `ambiguous` names the weights of the second for which others of the first would do as well, and `matter` those in
    `left` that its results depend on.
    """

    moves: tuple[Move, ...]
    of: int
    left: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    ambiguous: tuple[str, ...] = ()
    matter: tuple[str, ...] = ()

    @property
    def is_rounded(self) -> bool:
        """Whether some weights were computed of others, and not only put in another place."""
        return any(piece.magnitude is not None or piece.norms for move in self.moves for piece in move.pieces)

    def row(self) -> dict[str, object]:
        """The map as the JSON of a comparison has it."""
        return {
            "copied": len(self.moves),
            "of": self.of,
            "pairs": [_short(asdict(move)) for move in self.moves],
            **{name: list(getattr(self, name)) for name in ("left", "unused", "ambiguous", "matter")},
        }

    def save(self, file: Path) -> None:
        """Write the map as JSON, a line for each move; OSError if that cannot be done."""
        rows = ",\n  ".join(json.dumps(_short(asdict(move))) for move in self.moves)
        lists = ", ".join(f'"{name}": {json.dumps(getattr(self, name))}' for name in ("left", "unused", "ambiguous"))
        with replacing(file) as path:
            path.write_text(
                f'{{"format": "{FORMAT}", "of": {self.of}, {lists},\n "pairs": [\n  {rows}]}}\n', encoding="utf-8"
            )


def read_map(file: Path) -> WeightMap:
    """The map in a file that `--save-map` wrote; FwdtraceError if it is none."""
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        if document["format"] != FORMAT:
            raise ValueError
        moves = tuple(
            Move(**{**row, "pieces": tuple(Piece(**piece) for piece in row["pieces"]), "shape": tuple(row["shape"])})
            for row in document["pairs"]
        )
        return WeightMap(moves, document["of"], *(tuple(document[name]) for name in ("left", "unused", "ambiguous")))
    except OSError as error:
        raise FwdtraceError(f"--map {file}: cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise FwdtraceError(f"--map {file}: was not written by --save-map") from None


def _short(row: dict[str, object]) -> dict[str, object]:
    """The row without what it does not have."""
    pieces = [{name: value for name, value in piece.items() if value is not None} for piece in row["pieces"]]  # type: ignore[attr-defined]
    return {**{name: value for name, value in row.items() if value is not None}, "pieces": pieces}
