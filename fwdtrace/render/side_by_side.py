"""What a page says of two traces beside each other: which calls belong together, where they part, what was moved."""

from __future__ import annotations

from collections.abc import Iterator

from fwdtrace.compare.comparison import TraceComparison
from fwdtrace.compare.weight_map import Move, Piece
from fwdtrace.render.details import Table
from fwdtrace.trace import Event, Op, Site, Trace
from fwdtrace.trace.text import path_text

_PROOFS = {"run": "the same input gives the same", "name": "its name", "place": "its place"}


def marks_of_side(comparison: TraceComparison, side: int) -> dict[int, list[str]]:
    """What is said of rows of the first or the second trace, by the ids of their calls and ops."""
    assert comparison.traces is not None
    trace, other = comparison.traces[side], comparison.traces[1 - side]
    marks: dict[int, list[str]] = {}
    for event in origins(comparison, trace, side):
        marks.setdefault(event.id, []).append("the two part here")
    where = "second" if side == 0 else "first"
    start = _begin_of_origin(comparison)
    for ids in comparison.aligned:
        call, partner = trace.call(ids[side]), other.call(ids[1 - side])
        if call.path != partner.path:
            marks.setdefault(call.id, []).append(f"in the {where}: {path_text(partner.path)}")
        if not ids[2] and (start is None or comparison.traces[0].end(comparison.traces[0].call(ids[0])) < start):
            marks.setdefault(call.id, []).append("gives other numbers, from which the model recovers")
    return marks


def moved_weights(comparison: TraceComparison) -> Iterator[Table]:
    """The weights of the second that were moved from the first, with what speaks for it, and those that were not."""
    weights = comparison.weights
    if weights is None:
        return
    rows = tuple((move.target, _source(move), _PROOFS.get(move.proof, move.proof)) for move in weights.moves)
    yield Table("weights from the first", rows, ("weight", "is", "by"))
    if weights.left:
        yield Table("weights left as they were", tuple((name,) for name in weights.left))
    if weights.unused:
        yield Table("weights of the first not used", tuple((name,) for name in weights.unused))


def origins(comparison: TraceComparison, trace: Trace, side: int) -> Iterator[Event]:
    """The call or op where a side parts: the op of this name at its line, what is at that line, else the call named."""
    origin = comparison.origin
    if origin is None:
        return
    path = origin.path if side == 0 or origin.other_path is None else origin.other_path
    site = origin.first_site if side == 0 else origin.site
    calls = [call for call in trace.at(path) if call.nth == origin.nth] if path is not None else []
    for call in calls[:1]:
        below = [event for event in trace.events if call.id < event.id <= trace.end(call) and not trace.made_by(event)]
        inside = [event for event in below if site is not None and _is_at(event, site)]
        named = [event for event in inside if isinstance(event, Op) and event.name == origin.op]
        yield next(iter(named or inside), call)


def _is_at(event: Event, site: Site) -> bool:
    return event.site is not None and (event.site.file, event.site.line) == (site.file, site.line)


def _begin_of_origin(comparison: TraceComparison) -> int | None:
    """The id of the first trace's call where the two part; None if they never do."""
    if comparison.origin is None:
        return None
    assert comparison.traces is not None
    return next((event.id for event in origins(comparison, comparison.traces[0], 0)), 0)


def _source(move: Move) -> str:
    text = " over ".join(map(_piece, move.pieces))
    if move.heads is not None:
        text += f", in turns by {move.heads} heads"
    return f"{text}, transposed" if move.transposed else text


def _piece(piece: Piece) -> str:
    rows = f" rows {piece.start} to {piece.stop - 1}" if piece.start is not None and piece.stop is not None else ""
    norms = (
        f" with the norms {piece.magnitude}" if piece.magnitude is not None else ", its norms" if piece.norms else ""
    )
    return piece.name + rows + norms + (" transposed" if piece.transposed else "")
