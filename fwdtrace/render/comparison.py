"""Comparison -> text: what the model carries, both sides next to each other, the differences, the verdict, the fix."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterator, Sequence

from rich.console import Console

from fwdtrace.comparison import ACT_IN_FORWARD, SEVERITIES, Carried, Comparison, Difference, Experiment, Fired, Round
from fwdtrace.mechanisms import kind_in_words, mechanism_name, short_name
from fwdtrace.render.lines import Line, plain, print_lines
from fwdtrace.trace import Finding

LABEL = 24
"""The width of the first column, in cells."""
MOST_MODULES = 3
MOST_ALIKE = 3

_STYLES = {
    "numbers": "bold red", "gradients": "bold red", "exception": "bold red", "rounding": "yellow", "cost": "yellow",
    "observation": "yellow",
}  # fmt: skip
_MARKS = {"✗": "red", "=": "green"}


def comparison_text(comparison: Comparison, *, width: int = 80) -> str:
    """The comparison as plain text, at most `width` cells wide where words allow it."""
    return plain(_lines(comparison, width))


def print_comparison(comparison: Comparison, console: Console) -> None:
    """Print the comparison as wide as the console is."""
    print_lines(_lines(comparison, console.width), console)


def _lines(comparison: Comparison, width: int) -> Iterator[Line]:
    yield from _header(comparison, width)
    yield []
    yield from _inventory(comparison, width)
    if len(comparison.experiments) > MOST_ALIKE:
        yield []
        yield from _one_line_each(comparison, width)
    else:
        for experiment in comparison.experiments:
            yield []
            yield from _side_by_side(experiment, width)
    for severity, title in SEVERITIES.items():
        found = [difference for difference in comparison.differences if difference.severity == severity]
        if found:
            yield []
            yield [(title, _STYLES[severity])]
            yield from _differences(found, width)
    if comparison.findings:
        yield []
        yield [("The model runs forward directly by itself", "bold")]
        for finding in comparison.findings:
            yield from _finding(finding, width)
    for note in comparison.notes:
        yield []
        yield from _wrapped(f"Note: {note}", width, "", "yellow")
    yield []
    yield from _wrapped(comparison.verdict, width, "", "bold green" if comparison.equal else "bold red")
    if comparison.fix:
        yield from _wrapped(f"Fix: {comparison.fix}.", width, "     ", "bold")


def _header(comparison: Comparison, width: int) -> Iterator[Line]:
    model = comparison.model
    name = model.class_name.rpartition(".")[2]
    called = model.spec if model.spec and model.spec != name else None
    parts = [
        name,
        called,
        f"{model.parameters:,} parameters",
        comparison.copies and f"every run on {comparison.copies}",
    ]
    yield from _wrapped(" · ".join(part for part in parts if part), width, "", "")


def _inventory(comparison: Comparison, width: int) -> Iterator[Line]:
    through_call = [item for item in comparison.inventory if item.kind not in ACT_IN_FORWARD]
    in_forward = [item for item in comparison.inventory if item.kind in ACT_IN_FORWARD]
    if not through_call:
        text = (
            "Nothing on this model acts through __call__: no hook, no __call__ of its own, nothing compiled in place."
        )
        yield from _wrapped(text, width, "", "")
    else:
        yield [("Acts through __call__, and not when its own module is run directly", "bold")]
        yield from _alike(through_call, width)
    if in_forward:
        yield [("Acts in forward, and in a direct call too", "bold")]
        yield from _alike(in_forward, width)


def _alike(items: Sequence[Carried], width: int) -> Iterator[Line]:
    """One entry for what is the same on many modules."""
    groups: dict[tuple[str, str], list[Carried]] = {}
    for item in items:
        groups.setdefault((item.kind, item.name), []).append(item)
    for group in groups.values():
        first = group[0]
        places = [_place(item.path) for item in group[:MOST_MODULES]]
        more = f" and {len(group) - MOST_MODULES} more" if len(group) > MOST_MODULES else ""
        name = first.mechanism or first.name.replace(".<locals>", "")
        where = f", {_short_path(first.file)}:{first.line}" if first.file and not first.mechanism else ""
        label = f"{', '.join(places)}{more}"
        yield from _columns([label, f"{kind_in_words(first.kind)}: {name}{where}"], [LABEL - 3, width - LABEL], width)


def _side_by_side(experiment: Experiment, width: int) -> Iterator[Line]:
    if not experiment.reached:
        yield from _wrapped(
            f"{experiment.call} is never run by the model, so nothing was measured.", width, "", "yellow"
        )
        return
    half = (width - LABEL - 2) // 2
    widths = [LABEL - 3, half, half]
    yield from _columns(["", experiment.call, experiment.entry], widths, width, style="bold")
    chains = [" → ".join(chain) or "not seen" for chain in (experiment.called, experiment.direct)]
    yield from _columns(["ran", *chains], widths, width)
    yield from _hooks(experiment.hooks, widths, width)
    for found in experiment.rounds[:1]:
        yield [(f"  {found.name}, {found.mode} mode", "dim")]
        for measure in found.measures:
            mark = "=" if measure.same else "✗"
            yield from _columns([f"  {measure.what}", measure.called, measure.direct], widths, width, mark=mark)
    if experiment.probes:
        yield from _probes(experiment.probes, widths, width)
    yield []
    yield from _rounds(experiment.rounds, width)
    yield from _not_so(experiment, width)


def _hooks(hooks: tuple[Fired, ...], widths: list[int], width: int) -> Iterator[Line]:
    for hook in hooks:
        name = mechanism_name(hook.kind, hook.name) or short_name(hook.name)
        mark = "=" if hook.called == hook.direct else "✗"
        label = f"{name} on {_place(hook.path)}"
        yield from _columns([label, _times(hook.called), _times(hook.direct)], widths, width, mark=mark)


def _rounds(rounds: tuple[Round, ...], width: int) -> Iterator[Line]:
    """A row for each thing compared, a column for each round."""
    modes = list(dict.fromkeys(found.mode for found in rounds))
    if all(measure.same for found in rounds for measure in found.measures):
        names = ", ".join(dict.fromkeys(found.name for found in rounds))
        text = f"the same in all {len(rounds)} rounds: {names}, each in {' and '.join(modes)} mode"
        yield from _wrapped(text, width, "  ", "", first="= ")
        return
    size = max(len(_first_word(found)) for found in rounds) + 2
    ordered = [found for mode in modes for found in rounds if found.mode == mode]
    label = max(LABEL, max(len(measure.what) for found in rounds for measure in found.measures) + 4)
    yield [(" " * label + "".join(f"{found.mode:<{size}}" for found in ordered).rstrip(), "dim")]
    yield [(" " * label + "".join(f"{_first_word(found):<{size}}" for found in ordered).rstrip(), "dim")]
    for what in dict.fromkeys(measure.what for found in ordered for measure in found.measures):
        line: Line = [(f"  {what:<{label - 2}}", "")]
        for found in ordered:
            same = next((measure.same for measure in found.measures if measure.what == what), None)
            mark = "=" if same or (what == "outcome" and same is None) else "✗" if same is False else " "
            line.append((f"{mark:<{size}}", _MARKS.get(mark, "")))
        yield line


def _first_word(found: Round) -> str:
    """`first step` in a narrow column."""
    return found.name.partition(" ")[0]


def _probes(probes: tuple[Fired, ...], widths: list[int], width: int) -> Iterator[Line]:
    yield [("  a hook added to a copy, to see whether it runs", "dim")]
    counts = {(probe.called, probe.direct) for probe in probes}
    if len(counts) == 1:
        called, direct = counts.pop()
        kinds = [kind_in_words(probe.kind) for probe in probes]
        yield from _columns([f"  each of {len(kinds)} kinds", _times(called), _times(direct)], widths, width)
        yield from _wrapped(f"({', '.join(kinds)})", width, " " * 5, "dim", first=" " * 5)
        return
    for probe in probes:
        yield from _columns(
            [f"  {kind_in_words(probe.kind)}", _times(probe.called), _times(probe.direct)], widths, width
        )


def _not_so(experiment: Experiment, width: int) -> Iterator[Line]:
    """What is often said of `__call__`, and was measured not to be so."""
    measures = [measure for found in experiment.rounds for measure in found.measures]
    graphs = {(measure.called, measure.direct) for measure in measures if measure.what == "grad_fn"}
    flags = {
        text for measure in measures if measure.what == "training flags" for text in (measure.called, measure.direct)
    }
    parts = []
    if graphs and all("none" not in pair for pair in graphs):
        parts.append("autograd recorded both sides alike")
    if flags == {"unchanged"}:
        parts.append("no training flag changed on either")
    if parts:
        yield from _wrapped(f"As measured, {' and '.join(parts)}.", width, "  ", "", first="  ")


def _one_line_each(comparison: Comparison, width: int) -> Iterator[Line]:
    yield [("Run directly, one at a time", "bold")]
    label = min(max(len(found.entry) for found in comparison.experiments) + 2, width // 2)
    for experiment in comparison.experiments:
        mine = [found for found in comparison.differences if (found.target or "") == experiment.target]
        if not experiment.reached:
            text, mark = "never called by the model, so not measured", " "
        elif not mine:
            text, mark = f"the same in {len(experiment.rounds)} rounds", "="
        else:
            text, mark = f"{SEVERITIES[mine[0].severity]}: {mine[0].message}", "✗"
        yield from _columns([experiment.entry, text], [label, width - label - 3], width, mark=mark)


def _differences(found: list[Difference], width: int) -> Iterator[Line]:
    kinds: dict[tuple[str | None, str], dict[str, list[Difference]]] = {}
    for difference in found:
        kinds.setdefault((difference.target, difference.kind), {}).setdefault(difference.path, []).append(difference)
    for paths in kinds.values():
        for alike in list(paths.values())[:MOST_ALIKE]:
            yield from _wrapped(alike[0].message, width, "    ", "", first="  ✗ ")
            seen = _seen(alike)
            if seen:
                yield from _wrapped(seen, width, "      ", "dim", first="    in ")
        if len(paths) > MOST_ALIKE:
            yield [(f"    … and {len(paths) - MOST_ALIKE} more of the same kind, which --json lists", "dim")]


def _seen(alike: list[Difference]) -> str:
    modes: dict[str, list[str]] = {}
    for difference in alike:
        if difference.round is not None and difference.mode is not None:
            modes.setdefault(difference.mode, []).append(difference.round)
    if len({tuple(rounds) for rounds in modes.values()}) == 1 and len(modes) > 1:
        return f"{', '.join(next(iter(modes.values())))} of {' and '.join(modes)} mode"
    return "; ".join(f"{', '.join(rounds)} of {mode} mode" for mode, rounds in modes.items())


def _finding(finding: Finding, width: int) -> Iterator[Line]:
    yield from _wrapped(f"{finding.code} {finding.message}", width, "    ", "", first="  ✗ ")
    if finding.site is not None:
        where = f"{_short_path(finding.site.file)}:{finding.site.line}"
        yield from _wrapped(f"{where}  {finding.site.code}", width, "      ", "cyan", first="    ")


def _columns(cells: list[str], widths: list[int], width: int, *, mark: str = " ", style: str = "") -> Iterator[Line]:
    """A row whose texts are wrapped in their columns, with a mark before it."""
    wrapped = [textwrap.wrap(text, size) or [""] for text, size in zip(cells, widths, strict=True)]
    if cells[0].startswith("  "):
        wrapped[0] = [f"  {line}" for line in textwrap.wrap(cells[0].strip(), widths[0] - 2)]
    for number in range(max(map(len, wrapped))):
        texts = [lines[number] if number < len(lines) else "" for lines in wrapped]
        text = " ".join(f"{text:<{size}}" for text, size in zip(texts, widths, strict=True)).rstrip()
        shown = mark if number == 0 else " "
        yield [(f"{shown} ", _MARKS.get(shown, "")), (text, style or ("red" if mark == "✗" else ""))]


def _wrapped(text: str, width: int, indent: str, style: str, *, first: str = "") -> Iterator[Line]:
    lines = textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    for line in lines:
        yield [(line, style)]


def _place(path: str | None) -> str:
    return "the model" if path == "" else path or "outside the tree"


def _times(count: int) -> str:
    return {0: "never", 1: "once", 2: "twice"}.get(count, f"{count} times")


def _short_path(file: str | None) -> str:
    """The path from the current folder if the file is below it."""
    if file is None:
        return ""
    relative = os.path.relpath(file)
    return file if relative.startswith("..") else relative
