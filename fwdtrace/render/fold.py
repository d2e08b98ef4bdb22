"""A trace as the rows of a tree: what is below what, what repeats and is folded, and how much is left out."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from fwdtrace.render.shapes import is_none, root_of
from fwdtrace.trace import Call, Event, Leaf, Op, TensorMeta, Trace

LONGEST_PERIOD = 8
"""Siblings that repeat in a pattern longer than this are not folded."""


class Amount(NamedTuple):
    """How many calls and how many ops."""

    calls: int
    ops: int


NOTHING = Amount(0, 0)


@dataclass(frozen=True, slots=True)
class Repeat:
    """Siblings that repeat the ones before them: `first` and `last` are the first and the last round of `times`.

    `hidden` is what the rounds that are not drawn hold; `but` names the containers in which shapes differ.
    """

    first: tuple[Event, ...]
    last: tuple[Event, ...]
    times: int
    hidden: Amount
    but: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """One row: the guides in front of it, and those that go on below it; `cut` is what the depth left out below it.

    `parent` is the call that made what is in the row, `level` how many calls are around it.
    """

    guides: str
    below: str
    entry: Event | Repeat
    parent: Call | None
    level: int
    cut: Amount


def tree_rows(trace: Trace, *, depth: int | None, fold: bool, deepest: int) -> Iterator[Row]:
    """Every row of the tree from top to bottom; guides do not go beyond `deepest` levels, numbers stand there instead.

    `depth` cuts below that level, except on the way to a call that raised.
    """
    structure = _Structure(trace)
    stack: list[tuple[Call | None, str, int, Iterator[tuple[Event | Repeat, bool]]]] = [
        (None, "", 0, iter(structure.entries(None, fold, True)))
    ]
    while stack:
        parent, guides, level, entries = stack[-1]
        item = next(entries, None)
        if item is None:
            stack.pop()
            continue
        entry, is_last = item
        folded = isinstance(entry, Repeat)
        own, below = _guides(guides, level, is_last, folded, deepest)
        if not isinstance(entry, Call):
            yield Row(own, below, entry, parent, level, NOTHING)
            continue
        open_below = depth is None or level < depth
        children = structure.entries(entry, fold, open_below)
        shown = {child.id for child, _ in children if isinstance(child, Call)}
        cut = NOTHING if open_below else structure.amount(trace.made_by(entry), without=shown)
        yield Row(own, below + ("│ " if children else "  "), entry, parent, level, cut)
        stack.append((entry, below, level + 1, iter(children)))


def repeats(trace: Trace) -> Iterator[Repeat]:
    """Every repeat below any call, also below calls of rounds that a repeat hides."""
    structure = _Structure(trace)
    for parent in (None, *trace.calls):
        entries = structure.entries(parent, fold=True, everything=True)
        yield from (entry for entry, _ in entries if isinstance(entry, Repeat))


def _guides(above: str, level: int, is_last: bool, folded: bool, deepest: int) -> tuple[str, str]:
    """The guides of a row, and those above its children."""
    if level == 0:
        return "", ""
    if level > deepest:
        return f"{above}⋯{level} ", above
    return above + ("└" if is_last else "├") + ("┄" if folded else "╴"), above + ("  " if is_last else "│ ")


class _Structure:
    """How much is below each call, and a number for each subtree that equal subtrees share."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._amounts: dict[int, Amount] = {}
        self._subtrees: dict[int, int] = {}
        self._numbers: dict[Any, int] = {}
        self._numbers_by_id: dict[int, int] = {}
        for event in reversed(trace.events):  # what is below a call began after it
            below = trace.made_by(event)
            calls, ops = self.amount(below) if below else NOTHING
            is_call = isinstance(event, Call)
            self._amounts[event.id] = Amount(calls + is_call, ops + (not is_call))
            self._subtrees[event.id] = self._subtree(event, below)

    def amount(self, events: Sequence[Event], without: Container[int] = ()) -> Amount:
        """How many these events are, together with all below them."""
        amounts = [self._amounts[event.id] for event in events if event.id not in without]
        return Amount(sum(calls for calls, _ in amounts), sum(ops for _, ops in amounts))

    def entries(self, parent: Call | None, fold: bool, everything: bool) -> list[tuple[Event | Repeat, bool]]:
        """What is drawn below a call, each with whether it is the last; only what raised if not `everything`."""
        events: Sequence[Event] = self._trace.made_by(parent)
        if not everything:
            events = [event for event in events if isinstance(event, Call) and event.error]
        drawn: list[Event | Repeat] = list(self._folded(events)) if fold else list(events)
        return [(entry, number == len(drawn)) for number, entry in enumerate(drawn, 1)]

    def _folded(self, events: Sequence[Event]) -> Iterator[Event | Repeat]:
        at = 0
        while at < len(events):
            period, times = self._repetition(events, at)
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
        for period in range(1, min(LONGEST_PERIOD, (len(events) - at) // 2) + 1):
            steps = [self._step(events[at + place], events[at + place + period]) for place in range(period)]
            if None in steps:
                continue
            end = at + 2 * period
            while end < len(events) and self._step(events[end - period], events[end]) == steps[(end - at) % period]:
                end += 1
            times = (end - at) // period
            if period > 1 and times == 2:  # two pairs that look alike are chance, not a loop
                continue
            if sum(self.amount(events[at + period : at + period * times])) > 1:
                return period, times
        return 1, 1

    def _step(self, event: Event, next_event: Event) -> tuple[int, int] | None:
        """How the path changes between two equal siblings: which part of it, and by how much; None if they differ."""
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
        """The same number for calls that differ in nothing that is drawn but their own path."""
        children = tuple((self._subtrees[child.id], _relative(child, event)) for child in below)
        leaves = self._number_of(event.inputs, _kinds), self._number_of(event.outputs, _kinds)
        drawn = leaves, self._number_of(event.site), event.error, event.nonfinite, children
        if isinstance(event, Op):
            return self._number((event.name, drawn))
        call = event.class_name, event.entry, event.parameters, event.opaque, event.thread, event.chain
        return self._number((call, self._number_of(event.hooks), drawn))

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
    """What must be equal in leaves that count as equal.

    Values such as the index of a layer are passed over, and so is what is in a container: a cache grows as layers run.
    """
    kinds: dict[Any, None] = {}
    for leaf in leaves:
        root = root_of(leaf.name)
        is_itself = root == leaf.name and (isinstance(leaf, TensorMeta) or is_none(leaf))
        kinds[_what(leaf) if is_itself else root] = None
    return tuple(kinds)


def _what(leaf: Leaf) -> tuple[Any, ...]:
    """A leaf without its elements."""
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
