"""One experiment -> text: what ran on each side, what was compared, and which added hooks would have run."""

from __future__ import annotations

from collections.abc import Iterator

from fwdtrace.compare.direct.comparison import Experiment, Fired, Round
from fwdtrace.render.lines import MARKS, Line, in_columns, wrapped
from fwdtrace.trace.mechanisms import kind_in_words, mechanism_name, short_name
from fwdtrace.trace.text import how_often

LABEL = 24
"""The width of the first column, in cells."""


def side_by_side(experiment: Experiment, width: int) -> Iterator[Line]:
    """The called and the direct side next to each other, and all rounds in a table."""
    if not experiment.reached:
        yield from wrapped(
            f"{experiment.call} is never run by the model, so nothing was measured.", width, "", "yellow"
        )
        return
    half = (width - LABEL - 2) // 2
    widths = [LABEL - 3, half, half]
    yield from in_columns(["", experiment.call, experiment.entry], widths, style="bold")
    chains = [" → ".join(chain) or "not seen" for chain in (experiment.called, experiment.direct)]
    yield from in_columns(["ran", *chains], widths)
    yield from _hooks(experiment.hooks, widths, width)
    for first in experiment.rounds[:1]:
        yield [(f"  {first.name}, {first.mode} mode", "dim")]
        for measure in first.measures:
            mark = "=" if measure.same else "✗"
            yield from in_columns([f"  {measure.what}", measure.called, measure.direct], widths, mark=mark)
    if experiment.probes:
        yield from _probes(experiment.probes, widths, width)
    yield []
    yield from _rounds(experiment.rounds, width)
    yield from _autograd_and_flags(experiment, width)


def _hooks(hooks: tuple[Fired, ...], widths: list[int], width: int) -> Iterator[Line]:
    for hook in hooks:
        name = mechanism_name(hook.kind, hook.name) or short_name(hook.name)
        mark = "=" if hook.called == hook.direct else "✗"
        label = f"{name} on {place_of(hook.path)}"
        yield from in_columns([label, how_often(hook.called), how_often(hook.direct)], widths, mark=mark)


def _rounds(rounds: tuple[Round, ...], width: int) -> Iterator[Line]:
    """A row for each thing compared, a column for each round."""
    modes = list(dict.fromkeys(round_.mode for round_ in rounds))
    if all(measure.same for round_ in rounds for measure in round_.measures):
        names = ", ".join(dict.fromkeys(round_.name for round_ in rounds))
        text = f"the same in all {len(rounds)} rounds: {names}, each in {' and '.join(modes)} mode"
        yield from wrapped(text, width, "  ", "", first="= ")
        return
    size = max(len(_first_word(round_)) for round_ in rounds) + 2
    ordered = [round_ for mode in modes for round_ in rounds if round_.mode == mode]
    label = max(LABEL, max(len(measure.what) for round_ in rounds for measure in round_.measures) + 4)
    if label + size * len(ordered) > width:
        for round_ in ordered:
            apart = ", ".join(measure.what for measure in round_.measures if not measure.same)
            mark = "✗ " if apart else "= "
            text = f"{round_.name}, {round_.mode} mode: {apart or 'the same'}"
            yield from wrapped(text, width, "    ", MARKS[mark[0]] if apart else "", first=mark)
        return
    yield [(" " * label + "".join(f"{round_.mode:<{size}}" for round_ in ordered).rstrip(), "dim")]
    yield [(" " * label + "".join(f"{_first_word(round_):<{size}}" for round_ in ordered).rstrip(), "dim")]
    for what in dict.fromkeys(measure.what for round_ in ordered for measure in round_.measures):
        line: Line = [(f"  {what:<{label - 2}}", "")]
        for round_ in ordered:
            same = next((measure.same for measure in round_.measures if measure.what == what), None)
            mark = "=" if same or (what == "outcome" and same is None) else "✗" if same is False else " "
            line.append((f"{mark:<{size}}", MARKS.get(mark, "")))
        yield line


def _first_word(round_: Round) -> str:
    """The name of a round where there is little room: `first` for `first step`."""
    return round_.name.partition(" ")[0]


def _probes(probes: tuple[Fired, ...], widths: list[int], width: int) -> Iterator[Line]:
    yield [("  a hook added to a copy, to see whether it runs", "dim")]
    alike: dict[tuple[int, int], list[str]] = {}
    for probe in probes:
        alike.setdefault((probe.called, probe.direct), []).append(kind_in_words(probe.kind))
    for (called, direct), kinds in alike.items():
        label = f"  each of {len(kinds)} kinds" if len(kinds) > 1 else f"  {kinds[0]}"
        yield from in_columns([label, how_often(called), how_often(direct)], widths)
        if len(kinds) > 1:
            yield from wrapped(f"({', '.join(kinds)})", width, " " * 7, "dim", first=" " * 6)


def _autograd_and_flags(experiment: Experiment, width: int) -> Iterator[Line]:
    """That autograd and the training flags were the same on both sides, as people often believe that they are not."""
    measures = [measure for round_ in experiment.rounds for measure in round_.measures]
    graphs = {(measure.called, measure.direct) for measure in measures if measure.what == "grad_fn"}
    flags = {
        text for measure in measures if measure.what == "training flags" for text in (measure.called, measure.direct)
    }
    parts = []
    if graphs and all("none" not in pair for pair in graphs):
        parts.append("autograd was at work on both sides")
    if flags == {"unchanged"}:
        parts.append("no training flag changed on either")
    if parts:
        yield from wrapped(f"As measured, {' and '.join(parts)}.", width, "  ", "", first="  ")


def place_of(path: str | None) -> str:
    """A module by its path, in words."""
    return "the model" if path == "" else path or "outside the tree"
