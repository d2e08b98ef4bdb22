"""In words and with lines: what the second run leaves out where the two part, or does by another function."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from fwdtrace.compare.leaves import class_or_op
from fwdtrace.compare.numbers.contents import Content
from fwdtrace.compare.parting.departure import SUMS, Departure, Side, alike, departure_of, only_entering, users_of
from fwdtrace.compare.parting.handed_over import handed_over
from fwdtrace.compare.parting.reasons import made_by, with_line
from fwdtrace.compare.parting.steps import SELECTS, Step
from fwdtrace.compare.traces import Partner
from fwdtrace.trace import Call, Event
from fwdtrace.trace.text import site_text

_FUNCTIONS = frozenset(
    ("relu", "relu6", "gelu", "silu", "sigmoid", "tanh", "_softmax", "_log_softmax", "softplus", "elu", "leaky_relu")
) | frozenset(("hardtanh", "hardswish", "hardsigmoid", "mish", "exp", "erf", "log_sigmoid_forward"))
"""Steps that apply a function to each element, or to each row."""
_PUTS_TOGETHER = SUMS | frozenset(
    (
        "mm",
        "bmm",
        "addmm",
        "baddbmm",
        "convolution",
        "cat",
        "stack",
        "repeat",
        "index",
        "index_select",
        "slice",
        "split",
    )
)
"""Steps that never stand in for a norm or an activation."""
_PRODUCTS = dict.fromkeys(("mm", "bmm", "addmm", "baddbmm"), "matrix") | {"convolution": "convolution"}
"""Steps that compute products, with the kind of each."""
_MASKS = frozenset(("+", "add", "masked_fill", "where"))
"""Ops by which a mask is put over scores."""
_MOST_PASSED = 4
_TURNS = frozenset(("t", "view", "_unsafe_view", "transpose", "expand", "permute", "clone", "unsqueeze"))


@dataclass(frozen=True)
class LeftOut:
    """What the second run leaves out, in words, and the event that is given a tensor without it, if there is one."""

    text: str
    where: Event | None = None


def left_out(
    one: Event | None, two: Event | None, ours: Departure | None, before: Side, after: Side, partner: Partner
) -> LeftOut | None:
    """The step that the first run applies to a tensor and the second does not; None if there is none.

    `one` and `two` are what the runs call where they part. The second run must have the same tensor as the first, and
    use it as it is.
    """
    if ours is None or one is None:
        return None
    if two is None:
        number = next(iter(_following(one, before)), None)
        maker = _maker_in_other(number, before, after) if number is not None else None
        return LeftOut(f"it is left out after {with_line(maker)}") if maker is not None else None
    for number in _following(two, after):
        number = _before_repeated(number, after)
        likes = _likes(after, number)
        skipped = _skipped(one, two, likes, ours, before, after)
        if skipped is None and class_or_op(one) != class_or_op(two):
            skipped = _replaced(one, two, likes, before, after) or _passed_over(one, two, likes, before, after)
        if skipped is not None:
            maker = made_by(_before_turned(number, after), after)
            where = handed_over(two, number, after, before, skipped, partner)
            start, end = site_text(maker.site) if maker is not None else "", site_text(where.site)
            place = f"at {end}" if start == end else f"between {start} and {end}" if start else f"before {end}"
            return LeftOut(f"{with_line(skipped)} is left out {place}", where) if end else None
    return None


def used_otherwise(
    one: Event | None,
    two: Event | None,
    ours: Departure,
    theirs: Departure,
    before: Side,
    after: Side,
    partner: Partner,
) -> LeftOut | None:
    """The one tensor that only the second run uses from there on, and that of the first, if two calls compute alike."""
    if (
        one is None
        or two is None
        or class_or_op(one) == class_or_op(two)
        or not _products(one, before) & _products(two, after)
    ):
        return None
    alone = only_entering(before, ours, after, theirs)
    if len(alone[0]) != 1 or len(alone[1]) != 1:
        return None
    ours_alone, number = alone[0][0], alone[1][0]
    makers = made_by(_before_turned(ours_alone, before), before), made_by(_before_turned(number, after), after)
    if makers[0] is None or makers[1] is None or makers[0] == one:
        return None
    where = handed_over(two, number, after, before, makers[0], partner)
    return LeftOut(f"what {with_line(makers[1])} gives is used, in the first what {with_line(makers[0])} gives", where)


def other_function(ours: Departure, theirs: Departure, before: Side, after: Side) -> str | None:
    """In words, the one function that only the second run uses, and the one that only the first uses; else None."""
    names = [
        Counter(name for step in found.ways if (name := side.steps.steps[step].name.rstrip("_")) in _FUNCTIONS)
        for side, found in ((before, ours), (after, theirs))
    ]
    alone = [*(names[0] - names[1]).elements()], [*(names[1] - names[0]).elements()]
    if len(alone[0]) != 1 or len(alone[1]) != 1:
        return None
    one, two = (
        _event_of(name[0], found, side)
        for name, found, side in zip(alone, (ours, theirs), (before, after), strict=True)
    )
    if one is None or two is None or (one, two) == (ours.event, theirs.event):
        return None
    return f"{with_line(two)} is used, in the first {with_line(one)}"


def order_of_windows(one: Event | None, two: Event | None, after: Side) -> str | None:
    """The op that reorders a convolution's windows, where the second run computes it as a matrix product; else None."""
    if one is None or two is None or not class_or_op(one).lower().removeprefix("f.").startswith("conv"):
        return None
    for number in _following(two, after):
        if after.is_new(number) or not after.is_in_new_order(number):
            continue
        departure = departure_of(after, [number], order=True)
        if departure is not None:
            return f"what it is given is put into another order by {with_line(departure.event)}"
    return None


def swapped_product(numbers: Iterable[int], side: Side) -> tuple[Event, str] | None:
    """The matrix product behind one of these whose two operands are in each other's place, and that in words."""
    for number in numbers:
        if not side.steps.held[number].follows or side.is_new(number) or not side.is_in_new_order(number):
            continue
        step = _product_behind(number, side)
        event = side.events.get(step.event) if step is not None and step.event is not None else None
        makers = (
            [made_by(_before_turned(each, side), side) for each in side.steps.given.get(event.id, ())]
            if event is not None
            else []
        )
        if event is not None and len(makers) == 2 and makers[0] is not None and makers[1] is not None:
            return event, f"its operands are swapped, {with_line(makers[0])} and {with_line(makers[1])}"
    return None


def _product_behind(number: int, side: Side) -> Step | None:
    """The product of two tensors that a tensor comes of by a scale and other shapes alone."""
    while (made_by := side.steps.held[number].made_by) is not None:
        step = side.steps.steps[made_by]
        following = [each for each in step.given if side.steps.held[each].follows]
        if step.name in ("mm", "bmm"):
            square = len(set(side.steps.held[step.gave[0]].shape[-2:])) == 1
            return step if len(following) == 2 and square else None
        if len(following) != 1 or not side.is_multiple(number):
            return None
        number = following[0]
    return None


def _event_of(name: str, found: Departure, side: Side) -> Event | None:
    """The call or op that ran the first step of this name."""
    step = min(step for step in found.ways if side.steps.steps[step].name.rstrip("_") == name)
    event = side.steps.steps[step].event
    return side.events.get(event) if event is not None else None


def _following(event: Event, side: Side) -> Iterator[int]:
    """The inputs of a call or op that depend on the model's input."""
    held = side.steps.held
    return (n for n in side.steps.given.get(event.id, ()) if held[n].follows and held[n].content is not None)


def _likes(side: Side, number: int) -> set[int]:
    """The tensors of the other run that have the same elements, by their numbers."""
    content = side.steps.held[number].content
    return {like for like, _ in side.others.like(content)} if content is not None else set()


def _skipped(one: Event, two: Event, likes: set[int], ours: Departure, before: Side, after: Side) -> Event | None:
    """What the first run applies, before `one`, to a tensor that the second uses as it is."""
    if likes.intersection(before.steps.given.get(one.id, ())) or _is_added_later(one, two, likes, before, after):
        return None
    for id in sorted(before.own_steps):
        event = before.events.get(id)
        if event is None or id >= one.id or not ours.ways.intersection(before.own_steps[id]):
            continue
        if isinstance(event, Call) and before.trace.children(event):
            continue
        given = likes.intersection(before.steps.given.get(id, ()))
        if given and not _is_multiple(before, next(iter(given)), id):
            return event
    return None


def _is_added_later(one: Event, two: Event, likes: set[int], before: Side, after: Side) -> bool:
    """Whether both are sums, and the first run adds the tensor to what `one` gave: three are added in any order."""
    if not _is_sum(one, before) or not _is_sum(two, after):
        return False
    users = (user for user in users_of(one, before) if _is_sum(user, before))
    return any(likes.intersection(before.steps.given.get(user.id, ())) for user in users)


def _is_sum(event: Event, side: Side) -> bool:
    names = {side.steps.steps[step].name for step in side.own_steps.get(event.id, ())}
    return bool(names) and names <= SUMS


def _replaced(one: Event, two: Event, likes: set[int], before: Side, after: Side) -> Event | None:
    """`one`, if it is a norm or a function whose input the second run uses at once in a sum, a product or a `cat`."""
    if not likes.intersection(before.steps.given.get(one.id, ())):
        return None
    ours, theirs = (
        {side.steps.steps[step].name for step in side.own_steps.get(event.id, ())}
        for event, side in ((one, before), (two, after))
    )
    if "norm" not in class_or_op(one).lower() and not any(name.rstrip("_") in _FUNCTIONS for name in ours):
        return None
    if _products(one, before) & _products(two, after):
        return None
    return one if theirs & _PUTS_TOGETHER and theirs <= _PUTS_TOGETHER | _TURNS else None


def _passed_over(one: Event, two: Event, likes: set[int], before: Side, after: Side) -> Event | None:
    """`one`, if the first does a few steps after it what the second does at once with the same tensor, in `two`."""
    if not likes.intersection(before.steps.given.get(one.id, ())):
        return None
    if _products(two, after) & _products(one, before):
        return None
    current: list[Event] = [one]
    for _ in range(_MOST_PASSED):
        users = [user for event in current[:1] for user in users_of(event, before)]
        if any(_do_one_job(user, two, before, after) for user in users):
            return one
        current = users if len(users) == 1 else []
    return None


def _do_one_job(one: Event, two: Event, before: Side, after: Side) -> bool:
    if alike(one, two) or _products(one, before) & _products(two, after):
        return True
    names = [class_or_op(event).lower().rpartition(".")[2].removesuffix("_") for event in (one, two)]
    return all("norm" in name for name in names) or all(name in _MASKS for name in names)


def _products(event: Event, side: Side) -> set[str]:
    """The kinds of products that a call or op computes."""
    parts = side.trace.children(event) if isinstance(event, Call) else ()
    names = {_PRODUCTS.get(side.steps.steps[step].name, "") for step in side.own_steps.get(event.id, ())}
    return names.union(*(_products(part, side) for part in parts)) - {""}


def _before_repeated(number: int, side: Side) -> int:
    """The tensor from which this one was repeated, back to one that the other run has too."""
    while not _likes(side, number):
        held = side.steps.held[number]
        step = side.steps.steps[held.made_by] if held.made_by is not None else None
        if step is None or not step.given or step.name in SELECTS or side.is_new(number):
            break
        number = step.given[0]
    return number


def _before_turned(number: int, side: Side) -> int:
    """The tensor before its elements were reordered."""
    while (made_by := side.steps.held[number].made_by) is not None:
        step = side.steps.steps[made_by]
        one = side.steps.held[step.given[0]].content if step.given else None
        two = side.steps.held[number].content
        if step.name not in _TURNS or one is None or two is None or not one.same_elements(two, side.others.tolerance):
            break
        number = step.given[0]
    return number


def _is_multiple(side: Side, number: int, id: int) -> bool:
    """Whether an op only multiplies this input by a number."""
    given = side.steps.held[number].content
    return any(_are_multiples(given, side.steps.held[gave].content) for gave in side.steps.gave.get(id, ()))


def _are_multiples(one: Content | None, two: Content | None) -> bool:
    if one is None or two is None or not one.moments[2]:
        return False
    return two.same_elements(one.times(two.moments[2] / one.moments[2]), 1e-6)


def _maker_in_other(number: int, side: Side, other: Side) -> Event | None:
    """The call or op that made the same tensor in the other run."""
    return next((maker for like in sorted(_likes(side, number)) if (maker := made_by(like, other)) is not None), None)
