"""What repeats in a trace is folded: equal siblings become one entry, which says how often and how much it hides."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from fwdtrace.render.marks import marks_of, to_tell_of
from fwdtrace.render.shapes import is_none, root_of
from fwdtrace.trace import Call, Event, Leaf, Op, TensorMeta, Trace

LONGEST_PERIOD = 8
"""Siblings that repeat in a pattern longer than this are not folded."""


class Amount(NamedTuple):
    """How many calls and how many ops, and how many of these are marked, by what is marked: `{"direct": 2}`."""

    calls: int
    ops: int
    marked: Mapping[str, int] = {}

    @classmethod
    def of(cls, amounts: Iterable[Amount]) -> Amount:
        """All of them together."""
        calls = ops = 0
        marked: dict[str, int] = {}
        for amount in amounts:
            calls += amount.calls
            ops += amount.ops
            for what, number in amount.marked.items():
                marked[what] = marked.get(what, 0) + number
        return cls(calls, ops, marked)


NOTHING = Amount(0, 0)
ONE_CALL = Amount(1, 0)
ONE_OP = Amount(0, 1)


@dataclass(frozen=True, slots=True)
class Repeat:
    """Siblings that run `times` times in the same way: `first` are those of the first round, `last` of the last one.

    The first round is drawn. `hidden` is how much there is in the others; `but` names the containers, such as a cache,
    in which the tensors differ from round to round.
    """

    first: tuple[Event, ...]
    last: tuple[Event, ...]
    times: int
    hidden: Amount
    but: tuple[str, ...] = ()


def repeats(trace: Trace) -> Iterator[Repeat]:
    """All repeats of a trace, also those below calls that another repeat hides."""
    folding = Folding(trace)
    for parent in (None, *trace.calls):
        if not trace.made_by(parent):
            continue
        entries = folding.entries(parent, fold=True, everything=True)
        yield from (entry for entry, _ in entries if isinstance(entry, Repeat))


class Folding:
    """What is drawn below each call of a trace, and how much is there.

    Each subtree has a number, which equal subtrees share, so that two of them are compared at once.
    """

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self.marks = marks_of(trace)
        self._amounts: dict[int, Amount] = {}
        self._subtrees: dict[int, int] = {}
        self._numbers: dict[Any, int] = {}
        self._numbers_by_id: dict[int, int] = {}
        for event in reversed(trace.events):  # what is below a call began after it
            below = trace.made_by(event)
            own = ONE_CALL if isinstance(event, Call) else ONE_OP
            if (
                event.error is not None
                or event.id in self.marks
                or (isinstance(event, Call) and event.entry == "forward")
            ):
                own = own._replace(marked=dict.fromkeys(to_tell_of(event, self.marks), 1))
            self._amounts[event.id] = Amount.of((own, self.amount(below))) if below else own
            self._subtrees[event.id] = self._subtree(event, below)

    def amount(self, events: Sequence[Event], without: Container[int] = ()) -> Amount:
        """How many these events are, together with all below them."""
        return Amount.of(self._amounts[event.id] for event in events if event.id not in without)

    def entries(self, parent: Call | None, fold: bool, everything: bool) -> list[tuple[Event | Repeat, bool]]:
        """What is drawn below a call, with whether it is the last; the calls that raised alone if not `everything`."""
        events: Sequence[Event] = self._trace.made_by(parent)
        if not everything:
            events = [event for event in events if isinstance(event, Call) and event.error]
        drawn: list[Event | Repeat] = list(self._folded(events)) if fold else list(events)
        return [(entry, number == len(drawn)) for number, entry in enumerate(drawn, 1)]

    def _folded(self, events: Sequence[Event]) -> Iterator[Event | Repeat]:
        at = 0
        subtrees = [self._subtrees[event.id] for event in events]
        while at < len(events):
            again = subtrees[at] in subtrees[at + 1 : at + 1 + LONGEST_PERIOD]
            period, times = self._repetition(events, at) if again else (1, 1)
            end = at + period * times
            yield from events[at : at + period]
            if times > 1:
                first, last = tuple(events[at : at + period]), tuple(events[end - period : end])
                hidden = self.amount(events[at + period : end])
                but = self._differing([(events[i], events[i + period]) for i in range(at, end - period)])
                yield Repeat(first, last, times, hidden, but)
            at = end

    def _repetition(self, events: Sequence[Event], at: int) -> tuple[int, int]:
        """The shortest pattern that repeats from here on, and how often; (1, 1) if folding would save no row."""
        subtree = self._subtrees[events[at].id]
        for period in range(1, min(LONGEST_PERIOD, (len(events) - at) // 2) + 1):
            if self._subtrees[events[at + period].id] != subtree:
                continue
            steps = [self._step(events[at + place], events[at + place + period]) for place in range(period)]
            if None in steps:
                continue
            end = at + 2 * period
            while end < len(events) and self._step(events[end - period], events[end]) == steps[(end - at) % period]:
                end += 1
            times = (end - at) // period
            if period > 1 and times == 2:  # two pairs that look alike are chance, not a loop
                continue
            hidden = self.amount(events[at + period : at + period * times])
            if hidden.calls + hidden.ops > 1:
                return period, times
        return 1, 1

    def _step(self, event: Event, next_event: Event) -> tuple[int, int] | None:
        """How the path changes from one sibling to the next: which part, and by how much; None if they are unequal."""
        if self._subtrees[event.id] != self._subtrees[next_event.id]:
            return None
        if isinstance(event, Op) or isinstance(next_event, Op) or event.path == next_event.path:
            return -1, 0
        if event.path is None or next_event.path is None:
            return None
        old, new = event.path.split("."), next_event.path.split(".")
        changed = [place for place, (part, other) in enumerate(zip(old, new, strict=False)) if part != other]
        if len(old) != len(new) or len(changed) != 1:
            return None
        part, other = old[changed[0]], new[changed[0]]
        return (changed[0], int(other) - int(part)) if part.isdecimal() and other.isdecimal() else None

    def _differing(self, pairs: list[tuple[Event, Event]]) -> tuple[str, ...]:
        """The containers, in pairs of equal calls and in all below them, in which the tensors are not the same."""
        roots: set[str] = set()
        while pairs:
            event, other = pairs.pop()
            for leaves, others in ((event.inputs, other.inputs), (event.outputs, other.outputs)):
                if leaves is not others:
                    differing = set(map(_what, leaves)).symmetric_difference(map(_what, others))
                    roots.update(root_of(name) for name, *_ in differing if root_of(name) != name)
            pairs += zip(self._trace.made_by(event), self._trace.made_by(other), strict=True)
        return tuple(sorted(root.removeprefix(".") for root in roots))

    def _subtree(self, event: Event, below: Sequence[Event]) -> int:
        """A number that calls share if all that is drawn of them is equal, but for their own path."""
        children = tuple([(self._subtrees[child.id], _relative(child, event)) for child in below]) if below else ()
        given, made = self._number_of(event.inputs, _kinds), self._number_of(event.outputs, _kinds)
        site, marks = self._number_of(event.site), self.marks.get(event.id)
        drawn = given, made, site, event.error, event.nonfinite, marks, children
        if isinstance(event, Op):
            return self._number((event.name, *drawn))
        call = event.class_name, event.entry, event.parameters, event.opaque, event.thread, event.chain
        return self._number((*call, self._number_of(event.hooks), *drawn))

    def _number_of(self, part: Any, key: Callable[[Any], Any] | None = None) -> int:
        """The number of a part of a call, or of its key; parts that are one object are looked at once."""
        number = self._numbers_by_id.get(id(part))
        if number is None:
            number = self._numbers_by_id[id(part)] = self._number(key(part) if key else part)
        return number

    def _number(self, key: Any) -> int:
        """A number for this key, the same for an equal one."""
        return self._numbers.setdefault(key, len(self._numbers))


def _kinds(leaves: tuple[Leaf, ...]) -> tuple[Any, ...]:
    """What must be equal in the leaves of calls that fold.

    Values such as the index of a layer may differ, and so may what is in a container: a cache grows as layers run.
    """
    if len(leaves) == 1 and isinstance(leaves[0], TensorMeta) and root_of(leaves[0].name) == leaves[0].name:
        return _what(leaves[0])
    kinds: dict[Any, None] = {}
    for leaf in leaves:
        root = root_of(leaf.name)
        is_itself = root == leaf.name and (isinstance(leaf, TensorMeta) or is_none(leaf))
        kinds[_what(leaf) if is_itself else root] = None
    return tuple(kinds)


def _what(leaf: Leaf) -> tuple[Any, ...]:
    """What a tensor is without its elements; of a value, whether it is None."""
    if isinstance(leaf, TensorMeta):
        return leaf.name, leaf.shape, leaf.dtype, leaf.device, leaf.layout
    return leaf.name, leaf.value == "None"


def _relative(child: Event, parent: Event) -> tuple[int, str | None]:
    """The way from the caller's path to the child's: how many levels up, and the names down from there."""
    if not isinstance(child, Call) or not isinstance(parent, Call) or child.path is None:
        return 0, None
    if parent.path is None:
        return -1, child.path
    if not parent.path or child.path.startswith(f"{parent.path}."):
        return 0, child.path[len(parent.path) :]
    above, down = parent.path.split("."), child.path.split(".")
    shared = next((n for n, (a, b) in enumerate(zip(above, down, strict=False)) if a != b), min(len(above), len(down)))
    return len(above) - shared, ".".join(down[shared:])
