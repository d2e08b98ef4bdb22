"""What calls are given and give while data flow is noted: the leaves, and what is known of the tensors in them."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from fwdtrace.recorder.alike import Alike, version_like
from fwdtrace.recorder.flow import DataFlow, last_changed
from fwdtrace.recorder.lines import Given
from fwdtrace.recorder.notes import HookRun, KnownResult, Leaves, Note, Noted, OpenCall, entries_of
from fwdtrace.recorder.session import Session
from fwdtrace.recorder.torch_internals import torch_function_modes, without_torch_function


class CallFlow:
    """Describes what a call is given and gives, and notes where its tensors came from.

    What is given at a place, or by one class, is mostly built like the last time, and its tensors are known.
    """

    __slots__ = ("_flow", "_leaves", "_session")

    def __init__(self, session: Session, flow: DataFlow) -> None:
        self._session = session
        self._leaves = session.leaves
        self._flow = flow

    def inputs(self, call: OpenCall, args: tuple[Any, ...], kwargs: dict[str, Any], like: Alike | None) -> Leaves:
        """The leaves of what a call is given; where its tensors came from is noted.

        `like` is what the only argument is like, if that is known.
        """
        if torch_function_modes():
            with without_torch_function():  # a mode of the user's must not see us read attributes, nor ours
                return self._quiet_inputs(call, args, kwargs, like)
        return self._quiet_inputs(call, args, kwargs, like)

    def _quiet_inputs(
        self, call: OpenCall, args: tuple[Any, ...], kwargs: dict[str, Any], like: Alike | None
    ) -> Leaves:
        """The same where no mode of torch's listens; mostly one tensor that is as it was when it was met last."""
        leaves = self._leaves
        if call.seen.writes_unseen:
            self._flow.looks_at_own(call)
        if like is not None:
            entry = leaves.known.get(id(args[0]))
            is_same = entry is not None and entry.like is like and entry() is args[0]
            if is_same and (entry.version < 0 or entry.version == args[0]._version):  # type: ignore[union-attr]
                call.taken = entry  # type: ignore[assignment]
                return like.as_input
        is_alone = len(args) == 1 and not kwargs
        given = None if is_alone else call.seen.of.given
        described = given.compare(args, kwargs, given, leaves) if given is not None else None
        if described is not None:
            inputs, call.taken = described
            return inputs
        found: list[Any] = []
        inputs = leaves.read_inputs(args, kwargs, found)
        call.taken = self._flow.takes(found)
        if not is_alone and (given is None or not given.says(inputs)):
            call.seen.of.given = Given(args, kwargs, inputs, entries_of(call.taken), leaves)
        return inputs

    def outputs(self, call: OpenCall, output: Any) -> Leaves:
        """The leaves of what it gave; what is new among the tensors was made by it."""
        if torch_function_modes():
            with without_torch_function():
                return self._quiet_outputs(call, output)
        return self._quiet_outputs(call, output)

    def _quiet_outputs(self, call: OpenCall, output: Any) -> Leaves:
        """The same where no mode of torch's listens; mostly one tensor, like the one that the same module gave last."""
        leaves, seen = self._leaves, call.seen
        if seen.writes_unseen:
            self._flow.sees_own_written(call)
        entry = leaves.known.get(id(output))
        like = seen.made or leaves.last
        if (entry is None or entry() is not output) and like.accepts(output) and not call.hooks:
            self._flow.sees_writes(call, call.taken)
            made = call.given = leaves.known[id(output)] = KnownResult(output)
            made.version, made.maker = version_like(output, like), call
            made.clock, made.like = len(self._session.log), like
            return like.as_output
        gave = seen.of.gave
        handed_on = self._handed_on(gave, output) if gave is not None else None
        if handed_on is not None:
            self._flow.sees_writes(call, call.taken)
            outputs, call.given = handed_on
            return outputs
        hook = last_changed(call, "forward") if call.hooks else None
        outputs, seen.made = self.read_output(call, output, hook)
        if not isinstance(output, Tensor) and (gave is None or not gave.says(outputs)):
            seen.of.gave = Given((output,), None, outputs, entries_of(call.given), leaves)
        return outputs

    def _handed_on(self, gave: Given, output: Any) -> tuple[Leaves, Noted] | None:
        """The leaves of an output that is built like another, if its tensors are known and nothing wrote into them."""
        described = gave.compare((output,), None, gave, self._leaves)
        is_known = described is not None and all(entry.version >= 0 for entry in entries_of(described[1]))
        return described if is_known else None

    def read_output(self, note: Note, output: Any, hook: HookRun | None = None) -> tuple[Leaves, Alike]:
        """The leaves of anything that is given, and what its last tensor is like; what is known of each is noted."""
        entry = self._leaves.known_still(output)
        if entry is not None and entry.version >= 0:  # one tensor that is handed on as it was
            self._flow.sees_writes(note, note.taken)
            note.given = entry
            return entry.like.as_output, entry.like
        found: list[Any] = []
        leaves = self._leaves.read_output(output, found)
        like = self._leaves.last
        note.given = self._flow.gives(note, found, note.taken, hook)
        return leaves, like

    def inputs_of_forward(self, call: OpenCall, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Leaves:
        """The leaves of what a call's `forward` is given behind its pre-hooks, which may have replaced it."""
        with without_torch_function():
            found: list[Any] = []
            leaves = self._leaves.read_inputs(args, kwargs, found)
            call.taken_by_forward = self._flow.takes(found, last_changed(call, "forward_pre"))
            return leaves

    def outputs_of_forward(self, call: OpenCall, output: Any) -> Leaves:
        """The leaves of what a call's `forward` gives to its forward hooks, which may replace it."""
        with without_torch_function():
            found: list[Any] = []
            leaves = self._leaves.read_output(output, found)
            call.given_by_forward = self._flow.gives(call, found, call.taken_by_forward)
            return leaves
