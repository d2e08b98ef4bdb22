"""All that is known of one call or op, as small tables of text with a title: what a page shows on demand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fwdtrace.render import calls, words
from fwdtrace.render.words import printable
from fwdtrace.trace import Call, Event, Gradient, Hook, Leaf, NonFinite, Site, Stats, TensorMeta, Value
from fwdtrace.trace.mechanisms import kind_in_words, mechanism_name
from fwdtrace.trace.text import error_text, shape_text

Cells = tuple[str, ...]

STATISTICS = ("mean", "std", "min", "max", "zeros", "NaN", "inf")
"""The titles of the statistics of a tensor."""


@dataclass(frozen=True, slots=True)
class Table:
    """A titled table; `head` are the titles of its columns, or nothing."""

    title: str
    rows: tuple[Cells, ...]
    head: Cells = ()


def tables(event: Event) -> Iterator[Table]:
    """What is known of a call or op, the most asked for first."""
    if event.error:
        error = event.error
        where = "raised below, and passed on" if error.raised_below else ""
        yield Table("error", tuple((line,) for line in (error_text(error), where) if line))
    yield _leaves("input", event.inputs)
    yield _leaves("output", event.outputs)
    if event.nonfinite:
        yield Table("not finite", tuple(_nonfinite(event.nonfinite)))
    if isinstance(event, Call):
        yield from _of_a_call(event)
    if event.site:
        yield place(event.site)


def place(site: Site) -> Table:
    """A line of code."""
    return Table("from", ((f"{site.file}:{site.line}",), (f"in {site.function}",), (site.code,)))


def gradients(rows: Sequence[Gradient]) -> Table:
    """Every parameter after backward."""
    cells = tuple(
        (
            gradient.name,
            shape_text(gradient.shape),
            "frozen" if not gradient.requires_grad else "none" if gradient.norm is None else f"{gradient.norm:.4g}",
            f"{gradient.nan:,}",
            f"{gradient.inf:,}",
        )
        for gradient in rows
    )
    return Table("gradients", cells, ("parameter", "shape", "norm", "NaN", "inf"))


def _of_a_call(call: Call) -> Iterator[Table]:
    if call.forward_inputs is not None:
        yield _leaves("input of forward, after hooks", call.forward_inputs)
    if call.forward_outputs is not None:
        yield _leaves("output of forward, before hooks", call.forward_outputs)
    if call.hooks:
        yield Table("hooks", tuple(map(_hook, call.hooks)), ("kind", "name", "", "from"))
    yield Table("ran", ((calls.way(call),),))
    if shown := tuple(facts(call)):
        yield Table("facts", shown)
    if call.state:
        yield _leaves("state", call.state)


def facts(call: Call) -> Iterator[tuple[str, str]]:
    """What is known of a call in a word or a number."""
    if call.parameters:
        yield "parameters", words.count(call.parameters)
    if call.host_us is not None:
        yield "device time", words.duration(call.duration_us or 0.0)
        yield "host time", words.duration(call.host_us)
    if call.cold_us is not None:
        yield "time of the first run", words.duration(call.cold_us)
    if call.memory_bytes is not None:
        yield "peak memory", words.size(call.memory_bytes) or "0 B"
    if call.flops is not None:
        yield "FLOPs", f"{call.flops:,}"
    if call.backward:
        yield "backward", f"{words.duration(call.backward.duration_us)}, #{call.backward.order}"
    if call.settings:
        yield "settings", call.settings
    if call.aliases:
        yield "also named", ", ".join(call.aliases)
    if call.thread:
        yield "thread", call.thread
    if call.opaque:
        yield "not seen below", call.opaque


def _leaves(title: str, leaves: Sequence[Leaf]) -> Table:
    """A row for each leaf; columns that are empty in every row are left out."""
    if not leaves:
        return Table(title, (("nothing",),))
    stats = any(isinstance(leaf, TensorMeta) and leaf.stats for leaf in leaves)
    what = "shape" if all(isinstance(leaf, TensorMeta) for leaf in leaves) else "value"
    titles = ("name", what, "dtype", "device", "", *(STATISTICS * stats))
    rows = [_leaf(leaf, stats) for leaf in leaves]
    shown = [column for column in range(len(titles)) if any(row[column] for row in rows)]
    if len(shown) == 1:
        return Table(title, tuple((row[shown[0]],) for row in rows))
    return Table(
        title, tuple(tuple(row[column] for column in shown) for row in rows), tuple(titles[column] for column in shown)
    )


def _leaf(leaf: Leaf, stats: bool) -> Cells:
    if isinstance(leaf, Value):
        return (leaf.name, leaf.value, "", "", "", *("",) * (7 * stats))
    notes = [leaf.layout] if leaf.layout != "strided" else []
    if leaf.local_shape is not None:
        notes.append(f"{', '.join(leaf.placements)}, here {shape_text(leaf.local_shape)}")
    if leaf.requires_grad:
        notes.append("requires grad")
    cells = (leaf.name, shape_text(leaf.shape), leaf.dtype, leaf.device, ", ".join(notes))
    return (*cells, *(statistics(leaf.stats) if leaf.stats else ("",) * 7)) if stats else cells


def statistics(stats: Stats) -> Cells:
    """The numbers, empty where there is none, in the order of their titles."""
    mean, std, least, most = [
        "" if number is None else f"{number:.4g}" for number in (stats.mean, stats.std, stats.min, stats.max)
    ]
    return mean, std, least, most, f"{stats.zeros:,}", f"{stats.nan:,}", f"{stats.inf:,}"


def _hook(hook: Hook) -> Cells:
    name = mechanism_name(hook.kind, hook.name)
    did = "changed a value" if hook.changed else "ran" if hook.fired else "did not run"
    where = f"{hook.file}:{hook.line}" if hook.file else ""
    return kind_in_words(hook.kind), f"{hook.name} ({name})" if name else hook.name, did, where


def _of_inputs(counts: NonFinite) -> str:
    if counts.inputs_finite:
        return "all finite: it began here"
    names = ", ".join(map(printable, counts.spoiled_inputs))
    return f"not all finite either: {names}" if names else "not all finite either"


def _nonfinite(counts: NonFinite) -> Iterator[Cells]:
    yield "NaN", f"{counts.nan:,}"
    yield "infinite", f"{counts.inf:,}"
    yield "inputs", _of_inputs(counts)
    if counts.parameters:
        yield "in parameters", ", ".join(map(printable, counts.parameters))
