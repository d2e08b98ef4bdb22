"""Which call of one trace is which of another: by name, by mapped name, else by order, class and shape."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import TypeVar

from fwdtrace.errors import FwdtraceError
from fwdtrace.trace import Call, Leaf, TensorMeta, Trace

MOST_BY_ORDER = 4000
"""More calls than this with no namesake are not aligned by order, which takes quadratic time at worst."""

T = TypeVar("T")
Pair = tuple[Call, Call]
Signature = tuple[object, ...]
Signed = tuple[Call, Signature]
Trait = Callable[[Call, int], Signature | None]
"""What the partner of a call must be like, by it and how many paired ones were passed; None for a call without it."""


@dataclass(frozen=True)
class Alignment:
    """The calls of two traces that belong together, in the order of the first, and those without a counterpart.

    `is_port` is true if most calls have other names on the other side, as in a rewrite of the same model; `given_up`
    if so many calls had no namesake that their order was not looked at.
    """

    pairs: tuple[Pair, ...]
    only_before: tuple[Call, ...]
    only_after: tuple[Call, ...]
    is_port: bool
    given_up: bool = False


def align(before: Trace, after: Trace, maps: Sequence[str] = ()) -> Alignment:
    """Pair the calls of two traces; `maps` are `A.{i}.x=B.{i}.y` from the names of the first to those of the second.

    FwdtraceError if a map cannot be read.
    """
    renames = [_rename(text) for text in maps]
    namesakes: dict[tuple[object, ...], list[Call]] = {}
    for call in after.calls:
        namesakes.setdefault(_key(call, call.path), []).append(call)
    partner: dict[int, Call] = {}
    for call in before.calls:
        found = namesakes.get(_key(call, _renamed(call.path, renames)), [])
        if found and _alike(call, found[0]):
            partner[call.id] = found.pop(0)
    leaves = list(_innermost(before))
    expected = len(leaves)
    if any(call.error for call in (*before.children(), *after.children())):  # the rest of one of them did not run
        expected = min(expected, len(list(_innermost(after))))
    is_port = bool(maps) or sum(call.id in partner for call in leaves) * 2 < expected
    if is_port and not maps:
        partner = {call.id: other for call, other in _roots(before, after)}
    given_up = not _by_order(before, after, partner)
    _by_contents(before, after, partner)
    pairs = tuple((call, partner[call.id]) for call in before.calls if call.id in partner)
    taken = {other.id for _, other in pairs}
    return Alignment(
        pairs,
        tuple(call for call in before.calls if call.id not in partner),
        tuple(call for call in after.calls if call.id not in taken),
        is_port,
        given_up,
    )


def align_weights(before: Trace, after: Trace, maps: Sequence[str] = ()) -> list[Pair]:
    """The calls that belong together, also those of any class that hold as many parameters in the same place.

    A norm with its activation is one: its weights are those of the norm, and what it computes is not.
    """
    pairs = list(align(before, after, maps).pairs)
    ours = _unpaired(_holders(before), {call.id: other for call, other in pairs}, _parameters_alone)
    theirs = _unpaired(_holders(after), {other.id: call for call, other in pairs}, _parameters_alone)
    return pairs + _in_order(ours, theirs)[0]


def alike_at_both_ends(ours: Sequence[object], theirs: Sequence[object]) -> tuple[int, int]:
    """How many are the same from the beginning on, and how many of the others up to the end."""
    most = min(len(ours), len(theirs))
    start = 0
    while start < most and ours[start] == theirs[start]:
        start += 1
    end = 0
    while end < most - start and ours[-1 - end] == theirs[-1 - end]:
        end += 1
    return start, end


def shapes_of(leaves: Iterable[Leaf]) -> tuple[tuple[int, ...], ...]:
    """The shapes of the tensors among the leaves."""
    return tuple(leaf.shape for leaf in leaves if isinstance(leaf, TensorMeta))


def renamed(values: Mapping[str, T], maps: Iterable[str]) -> dict[str, T]:
    """What is kept by qualified name, by the names after the maps."""
    renames = [_rename(text) for text in maps]
    return {_renamed(name, renames) or name: value for name, value in values.items()}


def give_alike(call: Call, other: Call) -> bool:
    """Whether a model and its port give tensors of the same shapes; one may give more after them, such as a cache."""
    ours, theirs = shapes_of(call.outputs), shapes_of(other.outputs)
    both = min(len(ours), len(theirs))
    return ours == theirs if not both else ours[:both] == theirs[:both]


def shapes_in_words(leaves: Iterable[Leaf]) -> str:
    """The shapes as text: `2×3, scalar`."""
    return ", ".join("×".join(map(str, shape)) or "scalar" for shape in shapes_of(leaves)) or "none"


def _rename(text: str) -> tuple[re.Pattern[str], str]:
    old, equals, new = text.partition("=")
    if not equals or not old or not new:
        raise FwdtraceError(f"--map {text}: write OLD=NEW, as in 'encoder.layer.{{i}}.attention=blocks.{{i}}.attn'")
    parts = re.split(r"\{(\w+)\}", old)
    names = parts[1::2]
    unknown = [name for name in re.findall(r"\{(\w+)\}", new) if name not in names]
    if unknown or len(set(names)) != len(names):
        wrong = unknown[0] if unknown else names[0]
        raise FwdtraceError(f"--map {text}: {{{wrong}}} must be on the left once, and may be on the right")
    pattern = "".join(f"(?P<{part}>[^.]+)" if number % 2 else re.escape(part) for number, part in enumerate(parts))
    return re.compile(rf"{pattern}(?=\.|$)"), re.sub(r"\{(\w+)\}", r"\\g<\1>", new.replace("\\", "\\\\"))


def _renamed(path: str | None, renames: Sequence[tuple[re.Pattern[str], str]]) -> str | None:
    """The path by the map that says most of it, or as it is."""
    if path is None:
        return None
    found = [(match, new) for pattern, new in renames if (match := pattern.match(path))]
    if not found:
        return path
    match, new = max(found, key=lambda each: each[0].end())
    return match.expand(new) + path[match.end() :]


def _key(call: Call, path: str | None) -> tuple[object, ...]:
    return (path, call.nth) if path is not None else (None, call.class_name, call.depth)


def _alike(call: Call, other: Call) -> bool:
    """Whether two calls of one name may be the same: an index in a list names another layer once one is left out."""
    return call.class_name == other.class_name or bool(call.parameters) == bool(other.parameters)


def _roots(before: Trace, after: Trace) -> list[Pair]:
    return list(zip(before.children(), after.children(), strict=False))


def _by_order(before: Trace, after: Trace, partner: dict[int, Call]) -> bool:
    """Pair the calls that call nothing and have no partner yet, those with parameters first, the others between them.

    An activation or a dropout is often a function in a rewrite, and what stands between them then still matches.
    False if there are too many to look at, once those that begin and end alike are paired.
    """
    complete = True
    for trait in (_with_parameters, _without_parameters):
        taken = {other.id: id for id, other in partner.items()}
        pairs, looked_at_all = _in_order(
            _unpaired(_innermost(before), partner, trait), _unpaired(_innermost(after), taken, trait)
        )
        partner.update((call.id, other) for call, other in pairs)
        complete = complete and looked_at_all
    return complete


def _in_order(ours: Sequence[Signed], theirs: Sequence[Signed]) -> tuple[list[Pair], bool]:
    """Pair those of one signature in order; and whether all were looked at, which takes quadratic time at worst."""
    one, other = [signature for _, signature in ours], [signature for _, signature in theirs]
    start, end = alike_at_both_ends(one, other)
    blocks = [(0, 0, start), (len(ours) - end, len(theirs) - end, end)]
    one, other = one[start : len(one) - end], other[start : len(other) - end]
    few = max(len(one), len(other)) <= MOST_BY_ORDER
    if few:
        matching = SequenceMatcher(None, one, other, autojunk=False).get_matching_blocks()
        blocks += [(start + block.a, start + block.b, block.size) for block in matching]
    pairs = [(ours[i + n][0], theirs[j + n][0]) for i, j, size in blocks for n in range(size)]
    return pairs, few or not one or not other


def _unpaired(calls: Iterable[Call], paired: Mapping[int, object], trait: Trait) -> list[Signed]:
    """The calls that have no partner and the trait, each with what its partner must be like."""
    found: list[Signed] = []
    passed = 0
    for call in calls:
        if call.id in paired:
            passed += 1
        elif (signature := trait(call, passed)) is not None:
            found.append((call, signature))
    return found


def _with_parameters(call: Call, _: int) -> Signature | None:
    return (call.class_name, call.parameters, shapes_of(call.outputs)) if call.parameters else None


def _without_parameters(call: Call, passed: int) -> Signature | None:
    return (passed, call.class_name, shapes_of(call.outputs)) if not call.parameters else None


def _parameters_alone(call: Call, passed: int) -> Signature | None:
    return (passed, call.parameters)


def _innermost(trace: Trace) -> Iterator[Call]:
    inner = {call.parent for call in trace.calls}
    return (call for call in trace.calls if call.id not in inner)


def _holders(trace: Trace) -> Iterator[Call]:
    """The calls with parameters that no call below them has."""
    above = {call.parent for call in trace.calls if call.parameters}
    return (call for call in trace.calls if call.parameters and call.id not in above)


def _by_contents(before: Trace, after: Trace, partner: dict[int, Call]) -> None:
    """Pair the calls that hold the same paired calls and have results of the same shapes, outermost first."""
    taken = {other.id for other in partner.values()}
    holders: dict[tuple[int, int], list[Call]] = {}
    paired = set(taken)
    for call, span in _spans(after, paired, {id: id for id in paired}):
        if call.id not in taken:
            holders.setdefault(span, []).append(call)
    for call, span in list(_spans(before, set(partner), {id: other.id for id, other in partner.items()})):
        if call.id in partner:
            continue
        for other in holders.get(span, []):
            if shapes_of(call.outputs)[:1] == shapes_of(other.outputs)[:1]:
                partner[call.id] = other
                holders[span].remove(other)
                break


def _spans(trace: Trace, paired: set[int], name: dict[int, int]) -> Iterator[tuple[Call, tuple[int, int]]]:
    """Each call that calls others, with the first and the last paired call that calls nothing below it."""
    inner = {call.parent for call in trace.calls}
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    parents = {call.id: call.parent for call in trace.calls}
    for call in trace.calls:
        if call.id in inner or call.id not in paired:
            continue
        above = call.parent
        while above is not None:
            first.setdefault(above, name[call.id])
            last[above] = name[call.id]
            above = parents[above]
    yield from ((call, (first[call.id], last[call.id])) for call in trace.calls if call.id in first)
