"""TraceComparison -> text: the verdict, how the difference grows from its origin, and the rest, folded by kind."""

from __future__ import annotations

from collections.abc import Iterator

from rich.cells import cell_len
from rich.console import Console

from fwdtrace.compare.comparison import Growth, TraceComparison
from fwdtrace.compare.difference import SEVERITIES, Difference
from fwdtrace.compare.numbers.distance import Distance
from fwdtrace.render.compared_steps import steps_lines
from fwdtrace.render.lines import Line, plain, print_lines, wrapped
from fwdtrace.render.words import cut, padded, printable
from fwdtrace.trace import ModelInfo
from fwdtrace.trace.text import path_text, plural, with_nth

MOST_ALIKE = 3
_COLUMN = 12
"""The width of a column of numbers, in cells."""


def changes_text(comparison: TraceComparison, *, width: int = 80) -> str:
    """The comparison as plain text, at most `width` cells wide where words allow it."""
    return plain(_lines(comparison, width), width)


def print_changes(comparison: TraceComparison, console: Console) -> None:
    """Print the comparison as wide as the console is."""
    print_lines(_lines(comparison, console.width), console)


def _lines(comparison: TraceComparison, width: int) -> Iterator[Line]:
    style = "bold green" if comparison.equal else "bold red"
    yield from wrapped(printable(comparison.verdict), width, "", style)
    yield []
    for name, model in (("first ", comparison.model), ("second", comparison.other)):
        yield from wrapped(f"{name}  {_model(model)}", width, "        ", "")
    yield from _around(comparison, width)
    yield from steps_lines(comparison.steps)
    if comparison.growth:
        yield []
        yield from _growth(comparison, width)
    yield from _folded(comparison, width)
    for note in comparison.notes:
        yield []
        yield from wrapped(printable(f"Note: {note}."), width, "", "dim")


def _around(comparison: TraceComparison, width: int) -> Iterator[Line]:
    """What was set otherwise around the runs, before all that follows from it."""
    if not comparison.around:
        return
    yield []
    yield [("around the runs", "bold")]
    for each in comparison.around:
        yield from wrapped(printable(each.text), width, "    ", "", first="  ~ ")


def _model(model: ModelInfo) -> str:
    name = model.class_name.rpartition(".")[2]
    parts = [name, model.spec if model.spec != name else None, f"{model.parameters:,} parameters"]
    return printable(" · ".join(part for part in [*parts, "train mode" if model.training else None] if part))


def _growth(comparison: TraceComparison, width: int) -> Iterator[Line]:
    columns = 3 if width >= 3 * _COLUMN + 14 else 1  # where there is little room, only how far apart they are
    rows = [(_name(row), row.apart) for row in comparison.growth]
    needed = max(map(cell_len, ("from there on", *(name for name, _ in rows)))) + 1
    room = max(min(width - columns * _COLUMN - 2, needed), 2)
    heads = "".join(f"{head:>{_COLUMN}}" for head in ("difference", "relative", "ulp")[:columns])
    yield [(f"  {cut('from there on', room):<{room}}{heads}", "bold")]
    for name, apart in rows:
        yield [(f"  {padded(cut(name, room - 1), room)}{_cells(apart)[: columns * _COLUMN]}", "")]


def _name(row: Growth) -> str:
    return printable(with_nth(path_text(row.path), row.nth))


def _cells(distance: Distance) -> str:
    if distance.absolute is None:
        return f"{'not finite':>{_COLUMN}}{'—':>{_COLUMN}}{'—':>{_COLUMN}}"
    relative = "—" if distance.relative is None else f"{distance.relative:.2g}"
    return f"{distance.absolute:>{_COLUMN}.2g}{relative:>{_COLUMN}}{distance.ulp_text:>{_COLUMN}}"


def _folded(comparison: TraceComparison, width: int) -> Iterator[Line]:
    """The differences by severity; of many of one kind the first alone."""
    for severity, title in SEVERITIES.items():
        kinds: dict[str, list[Difference]] = {}
        for difference in comparison.differences:
            if difference.severity == severity:
                kinds.setdefault(difference.kind, []).append(difference)
        if kinds:
            yield []
            yield [(title, "bold red" if severity in ("numbers", "exception", "structure") else "yellow")]
        for kind, differences in kinds.items():
            shown = differences if len(differences) <= MOST_ALIKE else differences[:1]
            for difference in shown:
                yield from wrapped(printable(difference.message), width, "    ", "", first="  ✗ ")
            if len(differences) > len(shown):
                more = f"… and {plural(len(differences) - len(shown), 'more difference')} of {kind}, which --json lists"
                yield from wrapped(more, width, "    ", "dim", first="    ")
