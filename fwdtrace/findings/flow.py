"""Where the path of a gradient breaks: from what a parameter went into, along the data, to where the graph ends."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from fwdtrace.trace import Call, Event, Leaf, Source, TensorMeta, Trace
from fwdtrace.trace.values import tensors_in

Key = tuple[Source, int | None]
"""A tensor as it was between two writes: where it came from, and who wrote into it last."""


Kind = Literal["cut", "off", "unseen", "unused", "others", "output", "frozen"]


def requires_gradient(leaves: tuple[Leaf, ...]) -> bool:
    """Whether one of the tensors requires a gradient."""
    return any(isinstance(leaf, TensorMeta) and leaf.requires_grad for leaf in leaves)


@dataclass(frozen=True, slots=True)
class Break:
    """An end of the path of a gradient.

    `cut`: the event took a gradient and gave numbers without one. `off`: it ran where no graph is made. `unseen`: the
    result of a call does not require a gradient, though what it was computed from did, by what was not observed.
    `unused`: nothing that was observed used its result; `others`: nor what of it has a gradient, but the rest of it.
    `output`: its result is that output of the root. `frozen`: the parameter did not require a gradient when the event
    used it.
    """

    kind: Kind
    event: Event
    output: str = ""


class Paths:
    """Answers where paths of gradients break; the tables that this takes are made once."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace

    def breaks(self, parameter: str, users: Iterable[Call]) -> tuple[Break, ...]:
        """Where the paths from a parameter end: those ends that matter most for the outputs of the root, in order.

        `users` are the calls of the module that holds it.
        """
        search = _Search(self, {}, [])
        key = Source(parameter=parameter), None
        uses = self.uses.get(key, ())
        if uses and not any(leaf.requires_grad for _, leaf in uses):
            return (Break("frozen", uses[0][0]),)
        if uses:
            search.waiting.append(key)
        for call in () if uses else users:
            if not self._trace.made_by(call):
                search.go_through(call)
        ends = search.ends()
        least = min(map(self._rank, ends), default=0)
        return tuple(sorted((end for end in ends if self._rank(end) == least), key=lambda end: end.event.id))

    def _rank(self, end: Break) -> int:
        """How little an end matters: 0 if the outputs of the root depend on it, 1 if it leads to what is unseen."""
        if end.kind not in ("cut", "others"):
            return 2 if end.kind == "unused" else 0
        if end.event.id in self._behind_the_outputs:
            return 0
        return 3 if any(self.uses.get(key) for key in self.results(end.event)) else 1

    def results(self, event: Event) -> list[Key]:
        """The tensors that an event gave or wrote into."""
        given = (key for leaf in tensors_in(event.outputs) if (key := key_of(leaf)) is not None)
        return list(dict.fromkeys((*given, *self._written.get(event.id, ()))))

    def gives_gradient(self, event: Event, key: Key) -> bool:
        """Whether a result of an event requires a gradient, as it was given or as it was used later."""
        given = (leaf for leaf in tensors_in(event.outputs) if key_of(leaf) == key)
        used = (leaf for user, leaf in self.uses.get(key, ()) if user.id > event.id)
        returned = (leaf for _, leaf in self.returned.get(key, ()))
        return any(leaf.requires_grad for leaf in (*given, *used, *returned))

    def made_for(self, key: Key) -> Event | None:
        """The event that gave a tensor its numbers."""
        source, writer = key
        id = source.id if writer is None and source.call is None else writer
        return self._by_id.get(id) if id is not None else None

    def outermost_off(self, event: Event) -> Event:
        """The outermost call around an event without a graph, itself included, that has none for the same reason."""
        for caller in self._trace.callers(event):
            if caller.without_grad != event.without_grad:
                break
            event = caller
        return event

    def innermost_users(self, key: Key) -> list[tuple[Event, TensorMeta]]:
        """Who was given a tensor, without the calls inside which another one was."""
        users = self.uses.get(key, [])
        ids = [user.id for user, _ in users]
        return [
            (user, leaf)
            for place, (user, leaf) in enumerate(users)
            if not any(user.id < later <= self._trace.end(user) for later in ids[place + 1 : place + 2])
        ]

    def made_unseen(self, maker: Event) -> tuple[Call, tuple[TensorMeta, ...]] | None:
        """The innermost call around an event that gave tensors which nothing observed inside it made, and these."""
        for caller in self._trace.callers(maker):
            if own := self.own_results(caller):
                return caller, own
        return None

    def own_results(self, call: Call) -> tuple[TensorMeta, ...]:
        """What a call gave that nothing observed inside it made."""
        return tuple(leaf for leaf in tensors_in(call.outputs) if leaf.source is not None and leaf.source.id == call.id)

    def is_step(self, event: Event) -> bool:
        """Whether nothing was observed inside the event."""
        return not self._trace.made_by(event)

    @cached_property
    def uses(self) -> dict[Key, list[tuple[Event, TensorMeta]]]:
        """Who was given each tensor, and as which leaf, in order of beginning."""
        uses: dict[Key, list[tuple[Event, TensorMeta]]] = defaultdict(list)
        for event in self._trace.events:
            for leaf in tensors_in(event.inputs):
                if (key := key_of(leaf)) is not None:
                    uses[key].append((event, leaf))
        return dict(uses)

    @cached_property
    def returned(self) -> dict[Key, list[tuple[Call, TensorMeta]]]:
        """The tensors that the calls of the root gave."""
        returned: dict[Key, list[tuple[Call, TensorMeta]]] = defaultdict(list)
        for call in self._trace.children():
            for leaf in tensors_in(call.outputs):
                if (key := key_of(leaf)) is not None:
                    returned[key].append((call, leaf))
        return dict(returned)

    @cached_property
    def _written(self) -> dict[int, set[Key]]:
        written: dict[int, set[Key]] = defaultdict(set)
        for key in (*self.uses, *self.returned):
            if key[1] is not None:
                written[key[1]].add(key)
        return dict(written)

    @cached_property
    def _by_id(self) -> dict[int, Event]:
        return {event.id: event for event in self._trace.events}

    @cached_property
    def _behind_the_outputs(self) -> set[int]:
        flow = self._trace.flow
        return {event.id for call in self._trace.children() for event in flow.reaching(call)}


@dataclass
class _Search:
    """One walk along the data of a parameter: the ends found so far by their events, and the tensors to go on from."""

    paths: Paths
    found: dict[int, Break]
    waiting: list[Key]

    def ends(self) -> list[Break]:
        """All ends."""
        met: set[Key] = set()
        while self.waiting:
            key = self.waiting.pop()
            if key not in met:
                met.add(key)
                self._follow(key)
        return list(self.found.values())

    def go_through(self, event: Event) -> bool:
        """Go on from what an event gave that was given a tensor on the path, or find that the path ends there.

        False if the event is a call that does not seem to have used the tensor.
        """
        results = self.paths.results(event)
        if event.without_grad == "checkpoint":  # backward runs it again, if what it gives requires a gradient
            self.waiting += results
            return True
        if not self.paths.is_step(event):
            assert isinstance(event, Call)
            results = [key for leaf in self.paths.own_results(event) if (key := key_of(leaf)) is not None]
            if not results:
                return False
        onward = [key for key in results if self.paths.gives_gradient(event, key)]
        self.waiting += onward
        if not onward and event.without_grad is not None:
            self._end("off", self.paths.outermost_off(event))
        elif not onward:
            self._end("cut" if self.paths.is_step(event) else "unseen", event)
        return True

    def _follow(self, key: Key) -> None:
        maker = self.paths.made_for(key)
        off = maker if maker is not None and maker.without_grad == "checkpoint" else None
        goes_on = False
        users = self.paths.innermost_users(key)
        for call, leaf in self.paths.returned.get(key, ()):
            goes_on = goes_on or leaf.requires_grad
            if leaf.requires_grad and not any(self.paths.is_step(user) for user, _ in users if user.id > call.id):
                self._end("output", maker or call, leaf.name)
            elif off is not None:
                self._end("off", self.paths.outermost_off(off))
        for event, leaf in users:
            again = event.without_grad == "checkpoint" and (off is None or self._run_together(event, off))
            if leaf.requires_grad or again:
                goes_on = self.go_through(event) or goes_on
            elif off is not None:
                self._end("off", self.paths.outermost_off(off))
        if goes_on or maker is None or off is not None:
            return
        unseen = None if users else self.paths.made_unseen(maker)
        if unseen is None:
            others = (other for other in self.paths.results(maker) if other != key)
            is_used = any(self.paths.uses.get(other) or other in self.paths.returned for other in others)
            self._end("others" if is_used else "unused", maker)
        elif requires_gradient(unseen[1]):
            self.waiting += [own for leaf in unseen[1] if (own := key_of(leaf)) is not None]
        else:
            self._end("unseen", unseen[0])

    def _run_together(self, event: Event, other: Event) -> bool:
        """Whether one checkpoint ran both."""
        return self.paths.outermost_off(event) is self.paths.outermost_off(other)

    def _end(self, kind: Kind, event: Event, output: str = "") -> None:
        self.found.setdefault(event.id, Break(kind, event, output))


def key_of(leaf: TensorMeta) -> Key | None:
    """What tells a tensor from others, and from itself before it was written into; None if its source is not known."""
    return None if leaf.source is None else (leaf.source, leaf.changed_by)
