"""Which call of one trace belongs to which of another: by name, by mapped name, else by order, class and shape."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from fwdtrace.compare.by_content import SummariesOf, paired_by_content
from fwdtrace.compare.names import Renames
from fwdtrace.trace import Call, Trace, shapes_in

MOST_BY_ORDER = 4000
"""More calls than this without a namesake are not aligned by order, which takes quadratic time at worst."""

Pair = tuple[Call, Call]
Signature = tuple[object, ...]
Signed = tuple[Call, Signature]
Sign = Callable[[Call, int], Signature | None]
"""What the partner of a call must have in common with it, by the call and the number of paired calls before it.

None if the call takes no partner.
"""


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


def align(
    before: Trace, after: Trace, maps: Sequence[str] = (), contents: tuple[SummariesOf, SummariesOf] | None = None
) -> Alignment:
    """Pair the calls of two traces; `maps` are `A.{i}.x=B.{i}.y` from the names of the first to those of the second.

    Where most calls have other names, those that give the same, or are given the same, by their `contents`, are paired
    before the order is looked at. FwdtraceError if a map cannot be read.
    """
    partner = _by_name(before, after, Renames(maps))
    expected = len(before.innermost)
    if any(call.error for call in (*before.children(), *after.children())):  # the rest of one of them did not run
        expected = min(expected, len(after.innermost))
    is_port = bool(maps) or sum(call.id in partner for call in before.innermost) * 2 < expected
    if is_port and not maps:
        partner = {call.id: other for call, other in zip(before.children(), after.children(), strict=False)}
        if contents is not None:
            innermost = [trace.innermost for trace in (before, after)]
            partner |= {call.id: other for call, other in paired_by_content(innermost[0], innermost[1], *contents)}
    given_up = not _by_order(before, after, partner)
    _by_contents(before, after, partner)
    taken = {other.id for other in partner.values()}
    return Alignment(
        tuple((call, partner[call.id]) for call in before.calls if call.id in partner),
        tuple(call for call in before.calls if call.id not in partner),
        tuple(call for call in after.calls if call.id not in taken),
        is_port,
        given_up,
    )


def align_holders(before: Trace, after: Trace, maps: Sequence[str] = ()) -> list[Pair]:
    """The calls whose modules may hold the same weights: those that belong together, and more in the same places.

    These are of any class, and hold as many parameters. A norm with its activation is one: its weights are those of the
    norm, and what it computes is not.
    """
    pairs = list(align(before, after, maps).pairs)
    ours = _unpaired(_holders(before), {call.id: other for call, other in pairs}, _sign_by_size)
    theirs = _unpaired(_holders(after), {other.id: call for call, other in pairs}, _sign_by_size)
    return pairs + _in_order(ours, theirs)[0]


def alike_at_both_ends(ours: Sequence[object], theirs: Sequence[object]) -> tuple[int, int]:
    """How many items are the same from the beginning on, and how many of the others up to the end."""
    most = min(len(ours), len(theirs))
    start = 0
    while start < most and ours[start] == theirs[start]:
        start += 1
    end = 0
    while end < most - start and ours[-1 - end] == theirs[-1 - end]:
        end += 1
    return start, end


def _by_name(before: Trace, after: Trace, rename: Renames) -> dict[int, Call]:
    """The partner of each call of the first trace that has a namesake in the second, by its id."""
    namesakes: dict[tuple[object, ...], list[Call]] = {}
    for call in after.calls:
        namesakes.setdefault(_key(call, call.path), []).append(call)
    partner: dict[int, Call] = {}
    for call in before.calls:
        path = None if call.path is None else rename(call.path)
        candidates = namesakes.get(_key(call, path), [])
        if candidates and _may_be_the_same(call, candidates[0]):
            partner[call.id] = candidates.pop(0)
    return partner


def _key(call: Call, path: str | None) -> tuple[object, ...]:
    return (path, call.nth) if path is not None else (None, call.class_name, call.depth)


def _may_be_the_same(call: Call, other: Call) -> bool:
    """Whether two namesakes may be the same: an index in a list names another layer once one before it is left out."""
    return call.class_name == other.class_name or bool(call.parameters) == bool(other.parameters)


def _by_order(before: Trace, after: Trace, partner: dict[int, Call]) -> bool:
    """Pair the calls that call nothing and have no partner yet, those with parameters first, the others between them.

    An activation or a dropout is often a function in a rewrite, and what stands between them then still matches.
    False if there are too many to look at, once those that begin and end alike are paired.
    """
    complete = True
    for sign in (_sign_with_parameters, _sign_without_parameters):
        taken = {other.id: id for id, other in partner.items()}
        pairs, looked_at_all = _in_order(
            _unpaired(before.innermost, partner, sign), _unpaired(after.innermost, taken, sign)
        )
        partner.update((call.id, other) for call, other in pairs)
        complete = complete and looked_at_all
    return complete


def _in_order(ours: Sequence[Signed], theirs: Sequence[Signed]) -> tuple[list[Pair], bool]:
    """Pair the calls of one signature in order; and whether all were looked at, which takes quadratic time at worst."""
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


def _unpaired(calls: Iterable[Call], paired: Mapping[int, object], sign: Sign) -> list[Signed]:
    """The calls without a partner that may take one, each with its signature."""
    unpaired: list[Signed] = []
    passed = 0
    for call in calls:
        if call.id in paired:
            passed += 1
        elif (signature := sign(call, passed)) is not None:
            unpaired.append((call, signature))
    return unpaired


def _sign_with_parameters(call: Call, _: int) -> Signature | None:
    return (call.class_name, call.parameters, shapes_in(call.outputs)) if call.parameters else None


def _sign_without_parameters(call: Call, passed: int) -> Signature | None:
    return (passed, call.class_name, shapes_in(call.outputs)) if not call.parameters else None


def _sign_by_size(call: Call, passed: int) -> Signature | None:
    return (passed, call.parameters)


def _holders(trace: Trace) -> Iterator[Call]:
    """The calls with parameters that call none with parameters."""
    above = {call.parent for call in trace.calls if call.parameters}
    return (call for call in trace.calls if call.parameters and call.id not in above)


def _by_contents(before: Trace, after: Trace, partner: dict[int, Call]) -> None:
    """Pair the calls that call the same paired calls and have results of the same shapes, outermost first."""
    taken = {other.id for other in partner.values()}
    callers: dict[tuple[int, int], list[Call]] = {}
    for call, span in _spans(after, {id: id for id in taken}):
        if call.id not in taken:
            callers.setdefault(span, []).append(call)
    for call, span in list(_spans(before, {id: other.id for id, other in partner.items()})):
        if call.id in partner:
            continue
        for other in callers.get(span, []):
            if shapes_in(call.outputs)[:1] == shapes_in(other.outputs)[:1]:
                partner[call.id] = other
                callers[span].remove(other)
                break


def _spans(trace: Trace, pair_of: Mapping[int, int]) -> Iterator[tuple[Call, tuple[int, int]]]:
    """Each call that calls others, with the pairs of the first and the last paired call below it that calls nothing."""
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    for call in trace.innermost:
        if call.id not in pair_of:
            continue
        for caller in trace.callers(call):
            first.setdefault(caller.id, pair_of[call.id])
            last[caller.id] = pair_of[call.id]
    yield from ((call, (first[call.id], last[call.id])) for call in trace.calls if call.id in first)
