"""Comparison of two traces -> text: the verdict, how the difference grows from its origin, and the rest, folded."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console

from fwdtrace.compare.comparison import SEVERITIES, Apart, Comparison, Difference
from fwdtrace.render.lines import Line, plain, print_lines, wrapped
from fwdtrace.render.words import cut, printable
from fwdtrace.trace import ModelInfo

MOST_ALIKE = 3
_NUMBERS = 12


def changes_text(comparison: Comparison, *, width: int = 80) -> str:
    """The comparison as plain text, at most `width` cells wide where words allow it."""
    return plain(_lines(comparison, width))


def print_changes(comparison: Comparison, console: Console) -> None:
    """Print the comparison as wide as the console is."""
    print_lines(_lines(comparison, console.width), console)


def _lines(comparison: Comparison, width: int) -> Iterator[Line]:
    style = "bold green" if comparison.equal else "bold red"
    yield from wrapped(printable(comparison.verdict), width, "", style)
    yield []
    yield from wrapped(f"first   {_model(comparison.model)}", width, "        ", "")
    if comparison.other is not None:
        yield from wrapped(f"second  {_model(comparison.other)}", width, "        ", "")
    if comparison.growth:
        yield []
        yield from _growth(comparison, width)
    yield from _folded(comparison, width)
    for note in comparison.notes:
        yield []
        yield from wrapped(printable(f"Note: {note}."), width, "", "dim")


def _model(model: ModelInfo) -> str:
    name = model.class_name.rpartition(".")[2]
    parts = [name, model.spec if model.spec != name else None, f"{model.parameters:,} parameters"]
    return printable(" · ".join(part for part in [*parts, "train mode" if model.training else None] if part))


def _growth(comparison: Comparison, width: int) -> Iterator[Line]:
    room = max(width - 3 * _NUMBERS - 2, 12)
    heads = "".join(f"{head:>{_NUMBERS}}" for head in ("difference", "relative", "ulp"))
    yield [(f"  {'from there on':<{room}}{heads}", "bold")]
    for row in comparison.growth:
        nth = f" call {row.nth}" if row.nth > 1 else ""
        name = cut(printable("the model" if row.path == "" else row.path or "outside the tree") + nth, room - 1)
        yield [(f"  {name:<{room}}{_cells(row.apart)}", "")]


def _cells(apart: Apart) -> str:
    if apart.absolute is None:
        return f"{'not finite':>{_NUMBERS}}{'—':>{_NUMBERS}}{'—':>{_NUMBERS}}"
    relative = "—" if apart.relative is None else f"{apart.relative:.2g}"
    return f"{apart.absolute:>{_NUMBERS}.2g}{relative:>{_NUMBERS}}{apart.ulp_text:>{_NUMBERS}}"


def _folded(comparison: Comparison, width: int) -> Iterator[Line]:
    for severity, title in SEVERITIES.items():
        kinds: dict[str, list[Difference]] = {}
        for difference in comparison.differences:
            if difference.severity == severity:
                kinds.setdefault(difference.kind, []).append(difference)
        if kinds:
            yield []
            yield [(title, "bold red" if severity in ("numbers", "exception", "structure") else "yellow")]
        for kind, found in kinds.items():
            shown = found if len(found) <= MOST_ALIKE else found[:1]
            for difference in shown:
                yield from wrapped(printable(difference.message), width, "    ", "", first="  ✗ ")
            if len(found) > len(shown):
                more = f"… and {len(found) - len(shown)} more of {kind}, which --json lists"
                yield from wrapped(more, width, "    ", "dim", first="    ")
