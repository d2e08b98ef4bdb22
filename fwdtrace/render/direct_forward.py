"""DirectComparison -> text: what the model carries, both sides side by side, what differs, the verdict, the fix."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from rich.console import Console

from fwdtrace.compare.difference import SEVERITIES, Difference
from fwdtrace.compare.direct.comparison import ACT_IN_FORWARD, Carried, DirectComparison, most_telling
from fwdtrace.render.direct_rounds import LABEL, place_of, side_by_side
from fwdtrace.render.lines import Line, in_columns, plain, print_lines, wrapped
from fwdtrace.trace import Finding, Site
from fwdtrace.trace.mechanisms import kind_in_words
from fwdtrace.trace.text import first_few, plural

MOST_MODULES = 3
MOST_ALIKE = 3
MOST_LISTED = 12

_STYLES = {
    "numbers": "bold red", "gradients": "bold red", "exception": "bold red", "rounding": "yellow", "cost": "yellow",
    "observation": "yellow",
}  # fmt: skip
_PACKAGES = ("/site-packages/", "/dist-packages/", "\\site-packages\\")


def comparison_text(comparison: DirectComparison, *, width: int = 80) -> str:
    """The comparison as plain text, at most `width` cells wide where words allow it."""
    return plain(_lines(comparison, width), width)


def print_comparison(comparison: DirectComparison, console: Console) -> None:
    """Print the comparison as wide as the console is."""
    print_lines(_lines(comparison, console.width), console)


def _lines(comparison: DirectComparison, width: int) -> Iterator[Line]:
    yield from _header(comparison, width)
    yield []
    yield from _inventory(comparison, width)
    if len(comparison.experiments) > MOST_ALIKE:
        yield []
        yield from _one_line_a_module(comparison, width)
    else:
        for experiment in comparison.experiments:
            yield []
            yield from side_by_side(experiment, width)
        yield from _by_severity(comparison, width)
    if comparison.findings:
        yield []
        yield from wrapped("The model runs forward directly by itself", width, "", "bold")
        yield from _findings(comparison.findings, width)
    for note in comparison.notes:
        yield []
        yield from wrapped(f"Note: {note}", width, "", "yellow")
    yield []
    yield from wrapped(comparison.verdict, width, "", "bold green" if comparison.equal else "bold red")
    if comparison.fix:
        yield from wrapped(f"Fix: {comparison.fix}.", width, "     ", "bold")


def _header(comparison: DirectComparison, width: int) -> Iterator[Line]:
    model = comparison.model
    name = model.class_name.rpartition(".")[2]
    called = model.spec if model.spec and model.spec != name else None
    parts = [
        name,
        called,
        f"{model.parameters:,} parameters",
        comparison.copies and f"every run on {comparison.copies}",
    ]
    yield from wrapped(" · ".join(part for part in parts if part), width, "", "")


def _inventory(comparison: DirectComparison, width: int) -> Iterator[Line]:
    through_call = [item for item in comparison.inventory if item.kind not in ACT_IN_FORWARD]
    in_forward = [item for item in comparison.inventory if item.kind in ACT_IN_FORWARD]
    if not through_call:
        text = (
            "Nothing on this model acts through __call__: no hook, no __call__ of its own, nothing compiled in place."
        )
        yield from wrapped(text, width, "", "")
    else:
        yield from wrapped("Acts through __call__, and not when its own module is run directly", width, "", "bold")
        yield from _items(through_call, width)
    if in_forward:
        yield from wrapped("Acts in forward, and in a direct call too", width, "", "bold")
        yield from _items(in_forward, width)


def _items(items: Sequence[Carried], width: int) -> Iterator[Line]:
    """One entry for what is the same on many modules."""
    groups: dict[tuple[str, str], list[Carried]] = {}
    for item in items:
        groups.setdefault((item.kind, item.name), []).append(item)
    for group in groups.values():
        first = group[0]
        places = first_few([place_of(item.path) for item in group], MOST_MODULES)
        name = first.mechanism or first.name.replace(".<locals>", "")
        where = f", {_short_path(first.file)}:{first.line}" if first.file and not first.mechanism else ""
        yield from in_columns([places, f"{kind_in_words(first.kind)}: {name}{where}"], [LABEL - 3, width - LABEL])


def _one_line_a_module(comparison: DirectComparison, width: int) -> Iterator[Line]:
    yield from wrapped("Run directly, one at a time", width, "", "bold")
    apart: dict[str, list[Difference]] = {}
    for difference in comparison.differences:
        apart.setdefault(difference.target or "", []).append(difference)
    experiments = [experiment for experiment in comparison.experiments if experiment.target in apart]
    label = min(max((len(experiment.entry) for experiment in experiments), default=0) + 2, width // 2)
    for experiment in experiments:
        text = "; ".join(difference.message for difference in most_telling(apart[experiment.target]))
        yield from in_columns([experiment.entry, text], [label, width - label - 3], mark="✗")
    if experiments:
        count = len(comparison.differences)
        yield from wrapped(
            f"--at shows one in full, --json all {count} differences", width, "    ", "dim", first="    "
        )
    more = "more, which --json lists"
    reached = [experiment.target for experiment in comparison.experiments if experiment.reached]
    same = [target for target in reached if target not in apart]
    if same:
        text = f"{plural(len(same), 'module')} the same in all rounds: {first_few(same, MOST_LISTED, more)}"
        yield from wrapped(text, width, "    ", "", first="= ")
    unreached = [experiment.target for experiment in comparison.experiments if not experiment.reached]
    if unreached:
        modules = f"{plural(len(unreached), 'module')} never called by the model, so not measured"
        text = f"{modules}: {first_few(unreached, MOST_LISTED, more)}"
        yield from wrapped(text, width, "    ", "", first="  ")


def _by_severity(comparison: DirectComparison, width: int) -> Iterator[Line]:
    for severity, title in SEVERITIES.items():
        alike = [difference for difference in comparison.differences if difference.severity == severity]
        if not alike:
            continue
        yield []
        yield [(title, _STYLES[severity])]
        for experiment in comparison.experiments:
            mine = [difference for difference in alike if difference.target in (experiment.target, None)]
            if mine and len(comparison.experiments) > 1:
                yield [(f"  {experiment.entry}", "bold")]
            yield from _differences(mine, width)


def _differences(differences: list[Difference], width: int) -> Iterator[Line]:
    """Those of one kind and path as one entry, with the rounds in which it was seen."""
    kinds: dict[str, dict[str, list[Difference]]] = {}
    for difference in differences:
        kinds.setdefault(difference.kind, {}).setdefault(difference.path, []).append(difference)
    for paths in kinds.values():
        for alike in list(paths.values())[:MOST_ALIKE]:
            yield from wrapped(alike[0].message, width, "    ", "", first="  ✗ ")
            rounds = _rounds_of(alike)
            if rounds:
                yield from wrapped(rounds, width, "      ", "dim", first="    in ")
        if len(paths) > MOST_ALIKE:
            yield from wrapped(
                f"… and {len(paths) - MOST_ALIKE} more of the same kind, which --json lists",
                width,
                "    ",
                "dim",
                first="    ",
            )


def _rounds_of(alike: list[Difference]) -> str:
    """The rounds in which a difference was seen: `first step, second step of train and eval mode`."""
    modes: dict[str, list[str]] = {}
    for difference in alike:
        if difference.round is not None and difference.mode is not None:
            modes.setdefault(difference.mode, []).append(difference.round)
    if len({tuple(rounds) for rounds in modes.values()}) == 1 and len(modes) > 1:
        return f"{', '.join(next(iter(modes.values())))} of {' and '.join(modes)} mode"
    return "; ".join(f"{', '.join(rounds)} of {mode} mode" for mode, rounds in modes.items())


def _findings(findings: Sequence[Finding], width: int) -> Iterator[Line]:
    """One entry for what is found on the same line of many modules."""
    alike: dict[tuple[str, Site | None], list[Finding]] = {}
    for finding in findings:
        alike.setdefault((finding.code, finding.site), []).append(finding)
    for (code, site), group in alike.items():
        more = f" (and {len(group) - 1} more from this line)" if len(group) > 1 else ""
        yield from wrapped(f"{code} {group[0].message}{more}", width, "    ", "", first="  ✗ ")
        if site is not None:
            where = f"{_short_path(site.file)}:{site.line}"
            yield from wrapped(f"{where}  {site.code}", width, "      ", "cyan", first="    ")


def _short_path(file: str | None) -> str:
    """The path in its package, or from the current folder if the file is below it."""
    if file is None:
        return ""
    for folder in _PACKAGES:
        if folder in file:
            return file.rpartition(folder)[2]
    relative = os.path.relpath(file)
    return file if relative.startswith("..") else relative
