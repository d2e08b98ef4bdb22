"""The rows of a page: the words that rows of one kind share, and the texts that each row has of its own.

In a long trace few rows are equal, and yet most have the same parts: they differ in shapes and in numbers. The words of
a kind have the place of a text in the row where a row has its own.
"""

from __future__ import annotations

from collections.abc import Hashable
from functools import cache
from typing import Any, NamedTuple

from fwdtrace.render import calls, shapes, words
from fwdtrace.render.details import STATISTICS as TITLES
from fwdtrace.render.details import Table, facts, statistics, tables
from fwdtrace.render.numbers import NO_GRADIENT, STATISTICS, Numbers
from fwdtrace.render.sheet import Sheet
from fwdtrace.render.words import printable
from fwdtrace.trace import Call, Event, Leaf, Shape, TensorMeta
from fwdtrace.trace.text import error_text, shape_text

WIDEST = 40
"""The cells that shapes have in a row; all of them are among the details."""

APART = "\x7f"
"""Between the texts of a row: `printable` leaves none in a text, and JSON writes it as it is."""


_ALONE = {"input": "input alone", "output": "output alone"}
"""By side, the key of a text that is both that of the column and the shape of its one tensor."""


class Own(NamedTuple):
    """The texts of a row, and beside each what it is: a column, a fact, or what `_keys` names of a leaf."""

    keys: list[str]
    texts: list[str]

    def add(self, key: str, text: str) -> None:
        """One more text."""
        self.keys.append(key)
        self.texts.append(text)


@cache
def _keys(side: str, place: int) -> dict[str, str]:
    """For each thing that is said of the leaf at this place, the key of its text; strings hash faster than tuples."""
    return {what: f"{side} {place} {what}" for what in ("value", *TITLES)}


@cache
def _keys_of_statistics(side: str, place: int) -> tuple[str, ...]:
    return tuple(_keys(side, place)[title] for title in TITLES)


def own_texts(event: Event, sheet: Sheet, numbers: Numbers) -> Own:
    """What a row may not share with others of its kind; what is not known is not there."""
    own = Own([], [])
    _add_those_of_a_side(own, "input", event.inputs, event, sheet)
    _add_those_of_a_side(own, "output", event.outputs, event, sheet)
    not_finite = numbers.of(event, "nan")
    if not_finite is not None:
        own.add("nan", f"{not_finite:,.0f}")
    if isinstance(event, Call):
        _add_those_of_a_call(own, event, numbers)
    return own


def _add_those_of_a_side(own: Own, side: str, leaves: tuple[Leaf, ...], event: Event, sheet: Sheet) -> None:
    """The text of the column, and what the table tells of each leaf; a shape that says it all is there only once."""
    alone = None if event.error else shapes.alone(leaves, sheet, is_output=side == "output")
    if alone is not None and len(alone) <= WIDEST:
        own.add(_ALONE[side], alone)
        _add_statistics(own, side, 0, leaves[0])
        return
    listing = shapes.inputs if side == "input" else shapes.outputs
    own.add(side, listing(event, sheet).within(WIDEST))
    for place, leaf in enumerate(leaves):
        if isinstance(leaf, TensorMeta):
            own.add(_keys(side, place)["value"], shape_text(leaf.shape))
            _add_statistics(own, side, place, leaf)
        elif leaf.value:
            own.add(_keys(side, place)["value"], _lines(leaf.value))


def _add_statistics(own: Own, side: str, place: int, leaf: Leaf) -> None:
    if not isinstance(leaf, TensorMeta) or leaf.stats is None:
        return
    keys, texts = _keys_of_statistics(side, place), statistics(leaf.stats)
    shown = keys if "" not in texts else [key for key, text in zip(keys, texts, strict=True) if text]
    own.keys.extend(shown)
    own.texts.extend(filter(None, texts))


def _places(own: Own) -> dict[str, int]:
    """The place of each text by what it is."""
    at = {key: place for place, key in enumerate(own.keys)}
    for side, alone in _ALONE.items():
        if alone in at:
            at[side] = at[_keys(side, 0)["value"]] = at[alone]
    return at


def _add_those_of_a_call(own: Own, call: Call, numbers: Numbers) -> None:
    for name, text in facts(call):
        own.add(name, _lines(text))
    if call.duration_us is not None:
        host = f" device, {words.duration(call.host_us)} host" if call.host_us is not None else ""
        own.add("time", words.duration(call.duration_us) + host)
    if call.flops:
        own.add("flops", words.count(call.flops, short=True))
    norm = numbers.of(call, "grad")
    if norm is not None:
        own.add("grad", "none" if norm == NO_GRADIENT else words.number(norm))


def kind_of(event: Event, own: Own) -> Hashable:
    """What rows have in common that differ in their own texts alone."""
    sides = _traits(event.inputs), _traits(event.outputs), _changes_shape(event)
    shared = sides, event.error, event.nonfinite, tuple(own.keys)
    if not isinstance(event, Call):
        return event.name, shared
    ran = event.class_name, event.entry, event.opaque, event.chain, event.hooks, event.thread
    return ran, bool(event.path), event.forward_inputs, event.forward_outputs, event.state, shared


def words_of(event: Event, own: Own) -> dict[str, Any]:
    """The words of a kind, from one of its rows; what is empty is left out."""
    at = _places(own)
    call = event if isinstance(event, Call) else None
    measured = [place for place in range(len(event.outputs)) if _keys("output", place)["mean"] in at]
    shared: dict[str, Any] = {
        "name": printable(event.class_name if isinstance(event, Call) else event.name),
        "op": not call,
        "direct": call is not None and call.entry == "forward",
        "error": bool(event.error),
        "changed": _changes_shape(event),
        "called": calls.entry(call) if call else "",
        "notes": calls.marks(call, nan_is_shown="nan" in at) if call else [],
        "raised": _lines(error_text(event.error)) if event.error and not event.error.raised_below else "",
        "tables": [_with_places(table, at) for table in tables(event) if table.title != "from"],
        "memory": at.get("peak memory"),
        **{key: at.get(key) for key in ("input", "output", "parameters", "flops", "nan", "grad", "time")},
        **{key: at[_keys("output", measured[0])[key]] for key in STATISTICS if measured},
    }
    return {key: value for key, value in shared.items() if value or type(value) is int}


def lines_of(table: Table) -> list[Any]:
    """A table as the page reads it: its title, those of its columns, and its rows."""
    return [table.title, list(table.head), [[_lines(cell) for cell in row] for row in table.rows]]


def _with_places(table: Table, at: dict[str, int]) -> list[Any]:
    """The table with a place in each cell that has a text of the row's own."""
    title, head, rows = lines_of(table)
    for number, row in enumerate(rows):
        if title == "facts":
            row[1] = at.get(row[0], row[1])
        for column, of in enumerate(head or ["value"] * len(row)):
            row[column] = at.get(_keys(title, number).get("value" if of == "shape" else of, ""), row[column])
    return [title, head, rows]


def _traits(leaves: tuple[Leaf, ...]) -> tuple[Hashable, ...]:
    """What the tables tell of the leaves beside their shapes, values and statistics."""
    return tuple(
        [
            (leaf.name, leaf.dtype, leaf.device, leaf.requires_grad, leaf.layout, leaf.placements, leaf.local_shape)
            if isinstance(leaf, TensorMeta)
            else leaf.name
            for leaf in leaves
        ]
    )


def _changes_shape(event: Event) -> bool:
    return not event.error and _first_shape(event.inputs) != _first_shape(event.outputs)


def _first_shape(leaves: tuple[Leaf, ...]) -> Shape | None:
    for leaf in leaves:
        if isinstance(leaf, TensorMeta):
            return leaf.shape
    return None


def _lines(text: str) -> str:
    """The text line by line, with everything escaped that would not be seen as itself."""
    if text.isascii() and text.isprintable():
        return text
    return "\n".join(map(printable, text.splitlines()))
