"""Where two runs part by what they compute: the first step of each whose result the other never has, on the way out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from fwdtrace.compare.numbers.contents import Content, Contents
from fwdtrace.compare.parting.in_turns import given_in_turns
from fwdtrace.compare.parting.steps import ELEMENTS_STAY, SELECTS, Held, Step, Steps
from fwdtrace.trace import Call, Event, Op, Trace

_SCALES = frozenset(("mul", "mul_", "div", "div_"))
SUMS = frozenset(("add", "add_"))
"""Steps that add one tensor to another."""
_ENOUGH = 8
"""Of fewer elements, one being a multiple of others says nothing."""


@dataclass(frozen=True)
class Side:
    """One of two runs: its trace, its steps, and all that the other held."""

    trace: Trace
    steps: Steps
    others: Contents
    in_turns: bool = True
    """Whether what a loop gives in turns counts as known if the other run held it as a whole."""
    takes_parts: bool = False
    """Whether what only is a part of a tensor that the other run held counts as known."""

    def is_new(self, number: int) -> bool:
        """Whether the other run never held these elements: in no order, and not repeated more or fewer times either."""
        content = self.steps.held[number].content
        if self.takes_parts and (made_by := self.steps.held[number].made_by) is not None:
            step = self.steps.steps[made_by]
            if step.name in SELECTS | ELEMENTS_STAY and not self.is_new(step.given[0]):
                return False
        if content is None or next(self.others.like(content), None) is not None or self._is_in_parts(number):
            return False
        return not self.others.has_repeated(content) and not self._is_in_turns(number)

    def is_in_new_order(self, number: int) -> bool:
        """Whether the other run never held these elements in this order."""
        content = self.steps.held[number].content
        if content is None:
            return False
        likes = [like for _, like in self.others.like(content) if like.has_order]
        if not likes and not self.is_new(number):
            return False
        return not any(content.same_order(like, self.others.tolerance) for like in likes)

    def _is_in_parts(self, number: int) -> bool:
        """Whether the other run held all of it, part by part."""
        ways = self.steps.parts.get(number, ())
        return any(all(next(self.others.like(part), None) is not None for part in parts) for parts in ways)

    def _is_in_turns(self, number: int) -> bool:
        """Whether the other run held as a whole what the line that gives it gives in turns."""
        content, tolerance = self.steps.held[number].content, self.others.tolerance
        return content is not None and any(
            content.shows_in(whole, tolerance) and next(self.others.like(whole), None) is not None
            for whole in self._wholes(number)
        )

    def _wholes(self, number: int) -> Sequence[Content]:
        while number not in self._turns and (made_by := self.steps.held[number].made_by) is not None:
            step = self.steps.steps[made_by]
            if step.name not in ELEMENTS_STAY or not step.given:
                break
            number = step.given[0]
        return self._turns.get(number, ())

    def contents_of(self, number: int) -> list[Content]:
        """The content, if it is known, and those of the wholes that it is a part of."""
        content = self.steps.held[number].content
        return [*([content] if content is not None else []), *self._wholes(number)]

    def is_part_of(self, number: int, other: int) -> bool:
        """Whether these are the elements of a part of what the other run held by that number."""
        content = self.steps.held[number].content
        return content is not None and any(like == other for like, _ in self.others.like(content))

    def is_given(self, event: Event, numbers: Sequence[int]) -> bool:
        """Whether a call or op is given one of these, in whatever shape."""
        contents = [self.steps.held[number].content for number in numbers]
        given = (self.steps.held[number].content for number in self.steps.given.get(event.id, ()))
        return any(content is not None and content in contents for content in given)

    def is_multiple(self, number: int) -> bool:
        """Whether the other run held these elements, all multiplied by one number."""
        content = self.steps.held[number].content
        return content is not None and content.count >= _ENOUGH and self.others.has_multiple_of(content)

    @cached_property
    def _turns(self) -> dict[int, list[Content]]:
        return given_in_turns(self.steps, self.trace) if self.in_turns else {}

    @cached_property
    def events(self) -> dict[int, Event]:
        """The calls and ops by their ids."""
        return {event.id: event for event in self.trace.events}

    @cached_property
    def own_steps(self) -> dict[int, list[int]]:
        """The steps that each call or op ran itself."""
        found: dict[int, list[int]] = {}
        for number, step in enumerate(self.steps.steps):
            if step.event is not None:
                found.setdefault(step.event, []).append(number)
        return found


@dataclass(frozen=True)
class Departure:
    """Where one run leaves the other: the first step whose result is new, and all later steps with new results."""

    step: int
    event: Event
    ways: frozenset[int]


def following(side: Side) -> Side:
    """The same as if everything in it depended on the inputs, as what a model computes of its weights alone may be."""
    held = [replace(each, follows=True) for each in side.steps.held]
    return replace(side, steps=replace(side.steps, held=held))


def departure_of(
    side: Side, outputs: Iterable[int], *, order: bool = False, constants: bool = False
) -> Departure | None:
    """The first step that leads to one of the outputs and gives something new from what is not new.

    What does not depend on the inputs of the model is passed over, as long as a step goes on with what does. With
    `order`, elements in an order that the other never has count as new; with `constants`, nothing is passed over.
    """
    is_new = side.is_in_new_order if order else side.is_new
    waiting = [number for number in outputs if is_new(number)]
    seen: set[int] = set(waiting)
    ways: set[int] = set()
    first: set[int] = set()
    while waiting:
        made_by = side.steps.held[waiting.pop()].made_by
        if made_by is None or made_by in ways:
            continue
        ways.add(made_by)
        news = {number for number in side.steps.steps[made_by].given if is_new(number)}
        following = {number for number in news if constants or side.steps.held[number].follows}
        if not following:
            first.add(made_by)
        waiting += following - seen
        seen |= following
    first = {number for number in first if side.steps.steps[number].event is not None} or first
    # Which rows go where may be noted in another way in each model, as long as something else is behind it.
    first = {number for number in first if _is_floating(side.steps.steps[number], side)} or first
    whole = {number for number in first if not _further_sum(number, side, ways)}
    if not first:
        return None
    step = min(whole or first)
    while not whole and (further := _further_sum(step, side, ways)):
        step = min(further)
    event = side.steps.steps[step].event
    return Departure(step, side.events[event], frozenset(ways)) if event in side.events else None


def _is_floating(step: Step, side: Side) -> bool:
    return any(side.steps.held[number].dtype.is_floating_point for number in step.gave)


def _further_sum(step: int, side: Side, ways: Iterable[int]) -> list[int]:
    """The steps that add more to what a step adds, if nothing else uses that: three are added in any order."""
    if side.steps.steps[step].name not in SUMS:
        return []
    result = set(side.steps.steps[step].gave[:1])
    users = [later for later in ways if later > step and result & set(side.steps.steps[later].given)]
    return users if all(side.steps.steps[user].name in SUMS for user in users) else []


def where_scaled(departure: Departure, side: Side) -> Departure:
    """The departure, or the last step after it that multiplies with a number, if all until there are multiples.

    A model may multiply with a number earlier or later: what is a multiple of what the other has is no mistake before
    the last such step.
    """
    step, found = departure.step, None
    while True:
        result = side.steps.steps[step].gave[:1]
        if not result or not side.is_multiple(result[0]):
            break
        if side.steps.steps[step].name in _SCALES and len(side.steps.steps[step].given) == 1:
            found = step
        users = [later for later in departure.ways if result[0] in side.steps.steps[later].given]
        if len(users) != 1:
            break
        step = users[0]
    event = side.steps.steps[found].event if found is not None else None
    return replace(departure, step=found, event=side.events[event]) if found and event in side.events else departure


def counterpart_of(event: Event, side: Side, other: Side, departure: Departure | None) -> Event | None:
    """What the other run does in the place of a call or op: it is given the same, and its result is new as well."""
    users = shared_by(event, side, other)
    if departure is not None and departure.event.id in users and alike(departure.event, event):
        return departure.event
    ways = departure.ways if departure is not None else frozenset()
    candidates = [
        (alike(other.events[id], event), len(numbers), -id)
        for id, numbers in users.items()
        if id in other.events and ways.intersection(other.own_steps.get(id, ()))
    ]
    best = max(candidates, default=None)
    if best is not None and (best[0] or departure is None or departure.event.id not in users):
        return other.events[-best[2]]
    return departure.event if departure is not None else None


def without_effect(event: Event, side: Side, other: Side, departure: Departure) -> Event | None:
    """What the other run does in the place of a call or op and under its name, but so that nothing comes of it there.

    As `x + 0.0` in the place of `x + 0.1`: the run departs later, by what it does next with the `x` that it still has.
    """
    contents = (side.steps.held[number] for number in side.steps.given.get(event.id, ()))
    known = [
        {like for like, _ in side.others.like(held.content)}
        for held in contents
        if held.follows and held.content is not None
    ]
    before = _leading_to(departure.step, other)
    found = (
        id
        for id, given in other.steps.given.items()
        if id in other.events
        and alike(other.events[id], event)
        and all(likes.intersection(given) for likes in known)
        and before.intersection(gave := other.steps.gave.get(id, ()))
        and all(other.is_new(number) or other.is_given(other.events[id], [number]) for number in gave)
    )
    return other.events.get(max(found, default=-1)) if known else None


def is_inserted(event: Event, one: Event, side: Side, other: Side, is_one: Callable[[Event], bool]) -> bool:
    """Whether a call or op only comes before the counterpart of `one`, which is what the other run does at once.

    `is_one` says whether that is what another call or op of the side would be. Two that change places are not inserted.
    """
    later = users_of(event, side)
    return any(map(is_one, later)) and not any(alike(user, event) for user in users_of(one, other))


def users_of(event: Event, side: Side) -> list[Event]:
    """The calls and ops that are given what a call or op gave."""
    gave = set(side.steps.gave.get(event.id, ()))
    return [side.events[id] for id, given in side.steps.given.items() if id in side.events and gave.intersection(given)]


def _leading_to(step: int, side: Side) -> set[int]:
    """The numbers of all that a step depends on."""
    found: set[int] = set()
    waiting = list(side.steps.steps[step].given)
    while waiting:
        number = waiting.pop()
        if number not in found:
            found.add(number)
            made_by = side.steps.held[number].made_by
            waiting += side.steps.steps[made_by].given if made_by is not None else ()
    return found


def given_alike(one: Event, two: Event, before: Side, after: Side) -> bool:
    """Whether the first tensors that depend on the input and that two calls are given have the same elements."""
    held = [_first_following(one, before), _first_following(two, after)]
    contents = [each.content for each in held if each is not None]
    if len(contents) < 2 or contents[0] is None or contents[1] is None:
        return False
    return contents[0].same_elements(contents[1], before.others.tolerance)


def only_entering(before: Side, ours: Departure, after: Side, theirs: Departure) -> tuple[list[int], list[int]]:
    """What goes into the new steps of one run, is known to the other as well, and does not go into its new steps."""
    sides, tolerance = ((before, ours), (after, theirs)), after.others.tolerance
    numbers_of = [entering(side, departure) for side, departure in sides]
    known = [
        Contents([(content, number) for number in numbers for content in side.contents_of(number)], tolerance)
        for (side, _), numbers in zip(sides, numbers_of, strict=True)
    ]
    alone = [
        [number for number in numbers if replace(side, others=others).is_new(number)]
        for (side, _), numbers, others in zip(sides, numbers_of, reversed(known), strict=True)
    ]
    return alone[0], alone[1]


def entering(side: Side, departure: Departure) -> list[int]:
    """What the new steps are given that follows the input and is not new."""
    numbers = dict.fromkeys(number for step in sorted(departure.ways) for number in side.steps.steps[step].given)
    return [number for number in numbers if side.steps.held[number].follows and not side.is_new(number)]


def _first_following(event: Event, side: Side) -> Held | None:
    given = (side.steps.held[number] for number in side.steps.given.get(event.id, ()))
    return next((held for held in given if held.follows), None)


def alike(one: Event, two: Event) -> bool:
    """Whether two ops have one name, or the modules of two calls one class."""
    if isinstance(one, Op) and isinstance(two, Op):
        return one.name == two.name
    return isinstance(one, Call) and isinstance(two, Call) and one.class_name == two.class_name


def shared_by(event: Event, side: Side, other: Side) -> dict[int, set[int]]:
    """The calls and ops of the other run that are given some of the same, with what that is."""
    users: dict[int, set[int]] = {}
    by_number: dict[int, list[int]] = {}
    for id in other.own_steps:
        for number in other.steps.given.get(id, ()):
            by_number.setdefault(number, []).append(id)
    for number in side.steps.given.get(event.id, ()):
        held = side.steps.held[number]
        if held.content is None or not held.follows:
            continue
        for like, _ in side.others.like(held.content):
            for id in by_number.get(like, ()):
                users.setdefault(id, set()).add(number)
    return users
