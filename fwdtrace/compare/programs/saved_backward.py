"""The saved backward of two runs -> how far every gradient is apart, and where, in its order, backward parts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fwdtrace.compare.align import Pair, alike_at_both_ends
from fwdtrace.compare.comparison import ApartAt, Origin
from fwdtrace.compare.difference import Difference, Severity
from fwdtrace.compare.numbers.distance import NOT_COMPARABLE, Distance, furthest
from fwdtrace.compare.programs.saved_numbers import Values, distance_of_saved
from fwdtrace.compare.programs.saved_step import SavedHeld, SavedStep
from fwdtrace.compare.programs.systematic import floor_of, share_of_saved, times_by
from fwdtrace.trace import Call, Trace
from fwdtrace.trace.text import path_text

GRADIENT_TOLERANCES = {"bfloat16": 6e-2, "float16": 2e-2, "float32": 1e-4, "float64": 1e-9}
"""By how much two gradients may be apart and count as rounding, relative to the largest of their module.

They have no absolute one as results have: a gradient may be as small as it likes. Coarsest first.
"""


_TINY = 1e-4
"""A gradient says nothing that is so small beside the largest one: it may be rounding alone."""


@dataclass(frozen=True)
class SavedRun:
    """A run: its trace, its numbers, and what was saved of its step."""

    trace: Trace
    values: Values
    step: SavedStep


@dataclass(frozen=True)
class BackwardCompared:
    """How the backward of two runs is apart: in all, where it parts if it does, and each difference.

    `gradients` says how many parameters have a gradient on either side. If the gradients on the way are `scaled` by one
    number, and those of the parameters are not, that is no difference. `distances` has all in the order of backward.
    """

    gradients: int
    furthest: Distance | None
    origin: Origin | None
    differences: tuple[Difference, ...]
    scaled: float | None = None
    distances: tuple[ApartAt, ...] = ()


@dataclass(frozen=True)
class _Found:
    """One gradient on both sides: of a parameter by its `name`, or of what a call gave, without one."""

    owner: Call
    other: Call
    order: float
    apart: Distance
    name: str | None = None


def compare_backward(one: SavedRun, two: SavedRun, pairs: Sequence[Pair], *, exact: bool) -> BackwardCompared | None:
    """Compare the gradients of two runs; with `exact`, to the last bit. None if one of them has none saved."""
    ours, theirs = one.step, two.step
    if not ours.gradients or not theirs.gradients:
        return None
    dtype = _coarsest(one.trace, two.trace)
    on_the_way, of_parameters = list(_of_outputs(one, two, pairs)), list(_of_parameters(one, two, pairs))
    on_the_way = _with_times(sorted(on_the_way, key=lambda each: each.order), one, two, floor_of([dtype]))
    found = _judged(sorted((*on_the_way, *of_parameters), key=lambda each: each.order), dtype)
    scaled = None
    if all(each.apart.close for each in found if each.name is not None):
        scaled = one_factor(_gradients_on_the_way(one, two, pairs), GRADIENT_TOLERANCES[dtype])
        found = [each for each in found if each.name is not None or scaled is None]
    apart = [each for each in found if not (each.apart.same if exact else each.apart.close)]
    differences = tuple(_difference(each, one, two) for each in sorted(apart, key=lambda each: each.name is None))
    origin = _origin(one, two, found, apart[0]) if apart else None
    return BackwardCompared(
        len(ours.gradients.keys() | theirs.gradients.keys()),
        furthest(each.apart for each in found),
        origin,
        differences,
        scaled,
        tuple((each.owner.id, each.name, each.apart) for each in found),
    )


def _of_outputs(one: SavedRun, two: SavedRun, pairs: Sequence[Pair]) -> Iterator[_Found]:
    """The gradients that came to what each call gave, if both runs have such."""
    if not one.step.backward or not two.step.backward:
        return
    for call, other in pairs:
        ours, theirs = one.step.backward.get(call.id), two.step.backward.get(other.id)
        if call.backward is None or (ours is None and theirs is None):
            continue
        apart = _apart(one.values, ours or [], two.values, theirs or [])
        if apart is not None:
            yield _Found(call, other, call.backward.order, apart)


def _gradients_on_the_way(one: SavedRun, two: SavedRun, pairs: Sequence[Pair]) -> Iterator[tuple[Any, Any]]:
    """The elements of all gradients that came to what calls gave, where both runs have them whole."""
    for call, other in pairs:
        ours, theirs = one.step.backward.get(call.id) or [], two.step.backward.get(other.id) or []
        for a, b in zip(ours, theirs, strict=False):
            arrays = [side.values.array(at) for side, at in ((one, a), (two, b)) if at is not None]
            if len(arrays) == 2 and all(array is not None for array in arrays) and len(arrays[0]) == len(arrays[1]):
                yield arrays[0].astype("f8"), arrays[1].astype("f8")


def one_factor(pairs: Iterable[tuple[Any, Any]], far: float) -> float | None:
    """The one number but 1 by which the first of each pair is multiplied in the second, if there is one.

    `far` is by how much an element may miss, relative to the largest. Arrays that are tiny beside others do not count.
    """
    both = [(ours, theirs, float(abs(ours).max(initial=0.0))) for ours, theirs in pairs]
    largest = max((size for _, _, size in both), default=0.0)
    factors = []
    for ours, theirs, size in both:
        if not size > _TINY * largest:
            continue
        factor = float((ours * theirs).sum()) / float((ours * ours).sum())
        if not abs(factor) > 0 or not float(abs(theirs - factor * ours).max()) <= far * size * abs(factor):
            return None
        factors.append(factor)
    if not factors or max(factors) - min(factors) > far * abs(max(factors)) or abs(factors[0] - 1) < 10 * far:
        return None
    return factors[0]


def _of_parameters(one: SavedRun, two: SavedRun, pairs: Sequence[Pair]) -> Iterator[_Found]:
    """The gradients of all parameters, each after the backward of all that the module called that owns it."""
    by_path = {call.path: (call, other) for call, other in reversed(pairs) if call.path is not None}
    renamed = {_renamed(name, by_path): name for name in one.step.gradients}
    for name in dict.fromkeys([*renamed, *two.step.gradients]):
        own = renamed.get(name, name)
        pair = _owner(own, by_path)
        if pair is None:
            continue
        apart = _apart_held(one.values, one.step.gradients.get(own), two.values, two.step.gradients.get(name))
        below = [call.backward.order for call in (pair[0], *one.trace.walk(pair[0])) if call.backward is not None]
        yield _Found(*pair, max(below, default=-1) + 0.5, apart, own)


def _owner(name: str, by_path: Mapping[str, Pair]) -> Pair | None:
    """The calls of the innermost module that was called and holds the parameter."""
    path = name
    while path:
        path = path.rpartition(".")[0]
        if path in by_path:
            return by_path[path]
    return None


def _renamed(name: str, by_path: Mapping[str, Pair]) -> str:
    """The name in the second run of a parameter of the first."""
    pair = _owner(name, by_path)
    if pair is None or pair[0].path == pair[1].path:
        return name
    rest = name.removeprefix(pair[0].path or "").removeprefix(".")
    return f"{pair[1].path}.{rest}" if pair[1].path else rest


def _with_times(found: Sequence[_Found], one: SavedRun, two: SavedRun, floor: float | None) -> list[_Found]:
    """The same with the factor by which a gradient is larger, where that of the one before it in backward was not.

    A gradient of few elements is rounded as one, and with it all that follow: what comes after it is usual.
    """
    if floor is None:
        return list(found)
    usual: float | None = 0.0
    rows = []
    for each in found:
        ours, theirs = one.step.backward.get(each.owner.id) or [], two.step.backward.get(each.other.id) or []
        pairs = [(a, b) for a, b in zip(ours, theirs, strict=False) if a is not None and b is not None]
        shares = [share_of_saved(one.values, a, two.values, b) for a, b in pairs]
        known = [share for share in shares if share is not None]
        times = [times_by(share, floor, usual) for share in known] if usual is not None else []
        factor = next((each for each in times if each is not None), None)
        rows.append(replace(each, apart=replace(each.apart, times=factor)) if factor is not None else each)
        usual = known[-1].value if known else None
    return rows


def _apart(before: Values, ours: list[int | None], after: Values, theirs: list[int | None]) -> Distance | None:
    pairs = [(a, b) for a, b in zip(ours, theirs, strict=False) if a is not None and b is not None]
    if not pairs:
        return None if all(number is None for number in (*ours, *theirs)) else NOT_COMPARABLE
    return furthest(_apart_numbers(before, a, after, b) for a, b in pairs)


def _apart_held(before: Values, one: SavedHeld | None, after: Values, other: SavedHeld | None) -> Distance:
    return NOT_COMPARABLE if one is None or other is None else _apart_numbers(before, one.tensor, after, other.tensor)


def _apart_numbers(before: Values, one: int, after: Values, other: int) -> Distance:
    if before.about(one)["shape"] != after.about(other)["shape"]:
        return NOT_COMPARABLE
    return distance_of_saved(before, one, after, other)


def _judged(found: Sequence[_Found], dtype: str) -> list[_Found]:
    """The same with what counts as rounding said anew: by the largest gradient of the module, and the coarsest dtype.

    The gradient of the bias of keys in attention is nothing but rounding, beside a weight whose gradient is not.
    """
    largest: dict[int, float] = {}
    for each in found:
        size = (each.apart.absolute or 0.0) / each.apart.relative if each.apart.relative else 0.0
        if each.name is not None:
            largest[each.owner.id] = max(largest.get(each.owner.id, 0.0), size)
    tolerance = GRADIENT_TOLERANCES[dtype]
    return [
        replace(each, apart=_closer(each.apart, tolerance, largest[each.owner.id] if each.name is not None else 0.0))
        for each in found
    ]


def _closer(apart: Distance, tolerance: float, largest: float) -> Distance:
    if apart.absolute is None or apart.same:
        return apart
    close = apart.relative is not None and apart.relative <= tolerance
    return replace(apart, close=apart.times is None and (close or apart.absolute <= tolerance * largest))


def _coarsest(before: Trace, after: Trace) -> str:
    """The coarsest dtype that one of the runs computed in."""
    dtypes = {
        getattr(leaf, "dtype", None) for trace in (before, after) for call in trace.calls for leaf in call.outputs
    }
    return next((dtype for dtype in GRADIENT_TOLERANCES if dtype in dtypes), "float32")


def _difference(found: _Found, one: SavedRun, two: SavedRun) -> Difference:
    what = found.name or path_text(found.owner.path)
    severity: Severity = "rounding" if found.apart.close else "gradients"
    if found.name is None:
        message = f"{what}: the gradient of what it gives differs, {_how(found, one, two)}"
        return Difference("output gradient", severity, found.owner.path or "", "", "", message, found.owner.nth)
    return Difference("gradient", severity, found.name, "", "", f"{what}: another gradient, {_how(found, one, two)}")


def _how(found: _Found, one: SavedRun, two: SavedRun) -> str:
    if found.name is not None:
        has = [found.name in side.step.gradients for side in (one, two)]
        if has == [True, False]:
            return "in the first only"
        if has == [False, True]:
            return "in the second only"
    return found.apart.text


def _origin(one: SavedRun, two: SavedRun, found: Sequence[_Found], first: _Found) -> Origin:
    """Where backward parts: at a module whose own gradients do, or between what used its output and the output."""
    call, other = first.owner, first.other
    if first.name is not None:
        name = _below(first.name, call.path)
        return _at(call, other, first.apart, (f"gradient of {name}, {_how(first, one, two)}",))
    agree = {each.owner.id: each for each in found if each.name is None and each.order < first.order}
    users = one.trace.flow.consumers(call) if one.trace.flow.is_known else ()
    inner = [user for user in users if isinstance(user, Call) and user.id in agree and user.parent == call.parent]
    if len(users) == len(inner) == 1:
        return _at(inner[0], agree[inner[0].id].other, first.apart, (f"gradient of its input, {first.apart.text}",))
    callers = list(one.trace.callers(call))
    holder = next((caller for caller in callers if caller.id in agree), (callers or [call])[-1])
    if holder is call:
        return _at(call, other, first.apart, (f"the gradient that comes to it differs, {first.apart.text}",))
    partner = agree[holder.id].other if holder.id in agree else None
    own = next((each for each in found if each.name and each.owner is call and not each.apart.same), first)
    what = _below(own.name, holder.path) if own.name else f"what {_below(call.path or '', holder.path)} gives"
    why = f"gradient of {what}, {own.apart.text}"
    return _at(holder, partner, own.apart, (why, *_ops_after(one.trace, two.trace, call, other)))


def _at(call: Call, other: Call | None, apart: Distance, why: tuple[str, ...]) -> Origin:
    path = other.path if other is not None and other.path != call.path else None
    return Origin(call.path, call.nth, call.class_name, path, apart, why, which="backward")


def _below(name: str, path: str | None) -> str:
    return name.removeprefix(f"{path}.") if path else name


def _ops_after(before: Trace, after: Trace, call: Call, other: Call) -> Iterator[str]:
    """What the caller runs itself with what the call gave, where that is not the same on both sides."""
    ours, theirs = (
        [
            event.name
            for event in trace.made_by(trace.caller(each))
            if not isinstance(event, Call) and event.id > each.id
        ]
        for trace, each in ((before, call), (after, other))
    )
    if ours != theirs:
        alike, alike_at_end = alike_at_both_ends(ours, theirs)
        one, two = (", ".join(ops[alike : len(ops) - alike_at_end][:6]) or "nothing" for ops in (ours, theirs))
        yield f"{one} became {two}"
