"""What a trace says of a backward that went wrong: where a gradient became zero or NaN, and what backward raised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fwdtrace.trace.values import Operand, Site

Fault = Literal["non-finite", "zero", "none"]
Between = Literal["result", "parameter"]


@dataclass(frozen=True, slots=True)
class GradientFault:
    """A step of backward that made NaN or infinities of a finite gradient, zeros of one that was not zero, or none.

    `node` is autograd's name for the step, `SqrtBackward0`, and `event` the id of the call or op whose backward it is
    part of; both are None if the gradient was like this when it came to the model. `order` counts the steps.
    `nan` and `inf` count elements of the `elements` in the gradient that the step gave; `parameters` are those whose
    gradient it spoiled. `operands` are what the step computed with. With `between`, no step made it: it was finite as a
    step gave it, and not as the next one got it, so that a hook on the `result` of the event changed it; or not in the
    `.grad` of a `parameter`, so that a hook on that, or what ran after backward, did. `site` is the line in which the
    function `made_by` made it, where the user has written the backward of the step.
    """

    kind: Fault
    order: int
    event: int | None = None
    node: str | None = None
    elements: int = 0
    nan: int = 0
    inf: int = 0
    parameters: tuple[str, ...] = ()
    operands: tuple[Operand, ...] = ()
    between: Between | None = None
    made_by: str | None = None
    site: Site | None = None


@dataclass(frozen=True, slots=True)
class BackwardError:
    """An exception that backward raised; `type` is None if the program caught it.

    `node` is autograd's name for the step that raised, and `event` the id of the call or op whose backward it is part
    of; both are None if backward had not come to the model. `saved` is autograd's name for a tensor that the step had
    saved and that was written into since, `state` the qualified name of the parameter or buffer that this
    is, and `writers` are the ids of the calls and ops that wrote, in order. With `freed`, an earlier backward has given
    up what the step had saved, and `came_through` is the id of the call or op whose backward led to the step.
    """

    type: str | None
    message: str
    event: int | None = None
    node: str | None = None
    saved: str | None = None
    state: str | None = None
    writers: tuple[int, ...] = ()
    freed: bool = False
    came_through: int | None = None
