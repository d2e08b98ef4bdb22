"""The data flow of a trace: which call or op made a tensor, which used it, and what reaches what."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from operator import attrgetter

from fwdtrace.trace.values import Call, Event, Leaf, Source, TensorMeta

_Version = tuple[Source | None, int | None]
"""A tensor between two writes: its source, and the id of what wrote into it last."""


class Flow:
    """Answers where the tensors of a trace came from and where they went; an answer takes at most one pass.

    A tensor flows from what made it, or what wrote into it last, to every call and op that it went into: to the call of
    a block and also to the layer in the block that was given the same tensor. A tensor without a source, or from
    outside the trace, has no producer.
    """

    def __init__(self, events: Sequence[Event]) -> None:
        self._events = events

    @cached_property
    def is_known(self) -> bool:
        """Whether any tensor that went in says where it came from: not in a trace without ops, nor in an older one."""
        return any(
            type(leaf) is TensorMeta and leaf.source is not None for event in self._events for leaf in event.inputs
        )

    def producer(self, leaf: Leaf) -> Event | None:
        """The call or op that gave the tensor its numbers: the one that made it, or that wrote into it last."""
        if type(leaf) is not TensorMeta:
            return None
        if leaf.changed_by is not None:
            return self._by_id.get(leaf.changed_by)
        source = leaf.source
        return self._by_id.get(source.id) if source is not None and source.id is not None and not source.call else None

    def producers(self, event: Event) -> tuple[Event, ...]:
        """Where the inputs of a call or op came from, each once, in the order of the inputs."""
        return self._distinct(map(self.producer, event.inputs))

    def handed_on_by(self, leaf: TensorMeta, user: Event) -> Event | None:
        """The last call or op before `user` that was given this tensor and gave it back, as Dropout does in eval mode.

        It counts if it is beside `user`, or beside a call that `user` is in: what another call did inside, it may have
        done for itself.
        """
        handed = self._handed_on.get((leaf.source, leaf.changed_by))
        if not handed:
            return None
        around: set[int | None] = {user.parent}
        outer = self._by_id.get(user.parent) if user.parent is not None else None
        while outer is not None:
            around.add(outer.parent)
            outer = self._by_id.get(outer.parent) if outer.parent is not None else None
        last = bisect_left(handed, user.id, key=attrgetter("id")) - 1
        earlier = (handed[place] for place in range(last, -1, -1))
        return next((event for event in earlier if event.parent in around and event.id not in around), None)

    def consumers(self, event: Event, output: int | None = None) -> tuple[Event, ...]:
        """The calls and ops that used an output, by its place in `outputs`; without a place, any that it produced.

        An output may have been made further in: what a block gives is used by what comes after the block.
        """
        if output is None:
            return self._users(event)
        return self._distinct(self._users_after(event, output, self._below(event)))

    def path(self, before: Event, after: Event) -> tuple[Event, ...]:
        """A shortest way that data took from one call or op to another, both included; `()` if it took none."""
        came_from: dict[int, Event | None] = {before.id: None}
        waiting = deque([before])
        while waiting and after.id not in came_from:
            event = waiting.popleft()
            for user in self._users(event) if event is not before else self._all_users(event):
                if user.id not in came_from:
                    came_from[user.id] = event
                    waiting.append(user)
        if after.id not in came_from:
            return ()
        way = [after]
        while (earlier := came_from[way[-1].id]) is not None:
            way.append(earlier)
        return tuple(reversed(way))

    def reached_by(self, parameter: str) -> tuple[Event, ...]:
        """All calls and ops that work on what a parameter or buffer of this qualified name went into, in order."""
        owner = parameter.rpartition(".")[0]
        first = [event for event in self._events if _uses_state(event, parameter, owner, event.id in self._callers)]
        return self._reached(first, self._users)

    def reaching(self, event: Event, output: int | None = None) -> tuple[Event, ...]:
        """All calls and ops that an output of this one depends on, in order; without a place, that any depends on."""
        outputs = event.outputs if output is None else event.outputs[output : output + 1]
        return self._reached(filter(None, map(self.producer, outputs)), self.producers)

    def _users(self, event: Event) -> tuple[Event, ...]:
        return self._distinct(user for user, _ in self._uses.get(event.id, ()))

    def _all_users(self, event: Event) -> tuple[Event, ...]:
        """Who used what a call or op produced, and who used what it gave, which may have been made further in."""
        below = self._below(event)
        given = (user for output in range(len(event.outputs)) for user in self._users_after(event, output, below))
        return self._distinct((*self._users(event), *given))

    def _users_after(self, event: Event, output: int, below: set[int]) -> Iterator[Event]:
        """Who used an output later than the call or op that gave it, and all that is below it."""
        given = event.outputs[output]
        sources, makers = {Source(event.id, output)}, {event.id}
        if type(given) is TensorMeta and given.source is not None:
            sources.add(given.source)  # what was only written into is known by who made it
        producer = self.producer(given)
        if producer is not None:
            makers.add(producer.id)
        for maker in sorted(makers):
            for user, leaf in self._uses.get(maker, ()):
                if leaf.source in sources and user.id > event.id and user.id not in below:
                    yield user

    def _below(self, event: Event) -> set[int]:
        """The ids of all calls and ops below one."""
        below: set[int] = set()
        for each in self._events:
            if each.parent is not None and (each.parent == event.id or each.parent in below):
                below.add(each.id)
        return below

    def _reached(self, first: Iterable[Event], step: Callable[[Event], tuple[Event, ...]]) -> tuple[Event, ...]:
        reached = {event.id: event for event in first}
        waiting = list(reached.values())
        while waiting:
            for event in step(waiting.pop()):
                if event.id not in reached:
                    reached[event.id] = event
                    waiting.append(event)
        return tuple(reached[id] for id in sorted(reached))

    def _distinct(self, events: Iterable[Event | None]) -> tuple[Event, ...]:
        return tuple({event.id: event for event in events if event is not None}.values())

    @cached_property
    def _by_id(self) -> dict[int, Event]:
        return {event.id: event for event in self._events}

    @cached_property
    def _callers(self) -> set[int | None]:
        return {event.parent for event in self._events if type(event) is Call}

    @cached_property
    def _handed_on(self) -> dict[_Version, list[Event]]:
        """What was given a tensor and gave it back as it was, in order."""
        handed: dict[_Version, list[Event]] = defaultdict(list)
        for event in self._events:
            given = {(leaf.source, leaf.changed_by) for leaf in event.inputs if type(leaf) is TensorMeta}
            back = {(leaf.source, leaf.changed_by) for leaf in event.outputs if type(leaf) is TensorMeta}
            for version in given & back:
                if _names_one(version[0], event):
                    handed[version].append(event)
        return dict(handed)

    @cached_property
    def _uses(self) -> dict[int, list[tuple[Event, TensorMeta]]]:
        """For each call and op, who was given what it made, and as which leaf."""
        uses: dict[int, list[tuple[Event, TensorMeta]]] = defaultdict(list)
        for event in self._events:
            for leaf in event.inputs:
                producer = self.producer(leaf)
                if producer is not None and type(leaf) is TensorMeta:
                    uses[producer.id].append((event, leaf))
        return dict(uses)


def _names_one(source: Source | None, event: Event) -> bool:
    """Whether a source names one tensor beside a call or op; each call of the root has other arguments."""
    if source is None:
        return False
    return source.id is not None or (source.hook is None and event.parent is not None)


def _uses_state(event: Event, name: str, owner: str, has_calls: bool) -> bool:
    """Whether a call or op takes in this parameter or buffer: as an input, or as its module's own, unseen, inside."""
    for leaf in event.inputs:
        if type(leaf) is TensorMeta and leaf.source is not None and name in (leaf.source.parameter, leaf.source.buffer):
            return True
    return type(event) is Call and not has_calls and owner in (event.path, *event.aliases)
