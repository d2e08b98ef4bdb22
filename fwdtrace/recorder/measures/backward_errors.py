"""What backward raised: the step that failed, what it had saved, and who wrote into that since."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from torch import nn

from fwdtrace.recorder.measures.backward_graph import BackwardGraph
from fwdtrace.recorder.measures.writes import Writes
from fwdtrace.recorder.notes import Note
from fwdtrace.recorder.torch_internals import BACKWARD_CODES, memory_of, saved_in, why_unusable, without_torch_function
from fwdtrace.trace import BackwardError

_VERSIONS = re.compile(r"is at version (\d+); expected version (\d+)")
_SECOND_PASS = "backward through the graph a second time"


@dataclass(frozen=True)
class Failure:
    """A node of the graph that did not come to its end, and the first tensor of those it had saved that is unusable.

    `why` is what torch says about that tensor, `memory` where it is; both are empty if the reason is another one.
    """

    number: int
    node: str
    saved: str
    why: str
    memory: int | None


def failure_of(number: int, node: Any) -> Failure:
    """What is known of a node that failed, without holding it."""
    with without_torch_function():
        name, why = why_unusable(node)
        memory = next((memory_of(tensor) for saved, tensor in saved_in(node) if saved == name), None)
    return Failure(number, node.name().rpartition("::")[2], name, why, memory)


def raised_by_backward(error: BaseException) -> bool:
    """Whether an exception came out of a backward pass."""
    step = error.__traceback__
    while step is not None:
        if step.tb_frame.f_code in BACKWARD_CODES:
            return True
        step = step.tb_next
    return False


def is_second_pass(message: str) -> bool:
    """Whether torch says that a graph was used which an earlier pass has freed."""
    return _SECOND_PASS in message


def explained(
    failure: Failure,
    graph: BackwardGraph,
    writes: Writes,
    model: nn.Module,
    ids: dict[Note, int],
    raised: BaseException | None,
) -> BackwardError:
    """The failure as the trace tells it; `raised` is the exception, None if the program caught it."""
    message = str(raised) if raised is not None else failure.why
    event = _id(graph.owner(failure.number), ids)
    versions = _VERSIONS.search(message)
    freed = is_second_pass(message)
    writers: tuple[int, ...] = ()
    state = None
    if versions is not None:
        now, saved = map(int, versions.groups())
        owner, memory = graph.owner(failure.number), failure.memory
        if memory is None:  # a write into a view keeps what it has saved to itself, as older versions of torch do
            memory = writes.into(owner, saved) if owner is not None else None
            memory = memory if memory is not None else writes.only_memory(saved, now)
        found = (ids.get(note) for note in writes.after(memory, saved, now)) if memory is not None else ()
        writers = tuple(id for id in found if id is not None and (event is None or id >= event))
        state = _state_at(model, memory) if memory is not None else None
    return BackwardError(
        type(raised).__name__ if raised is not None else None,
        message,
        event,
        failure.node,
        failure.saved or None if versions is not None else None,
        state,
        writers,
        freed,
        _id(graph.led_to(failure.number), ids) if freed else None,
    )


def _id(note: Note | None, ids: dict[Note, int]) -> int | None:
    return ids.get(note) if note is not None else None


def _state_at(model: nn.Module, memory: int) -> str | None:
    """The parameter or buffer of the model whose memory this is."""
    with without_torch_function():
        state = (*model.named_parameters(), *model.named_buffers())
        return next((name for name, tensor in state if memory_of(tensor) == memory), None)
