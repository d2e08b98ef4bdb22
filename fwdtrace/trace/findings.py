"""What a trace says of the model that is not as it should be, and of the changes that would help."""

from __future__ import annotations

from dataclasses import dataclass

from fwdtrace.trace.values import Shape, Site


@dataclass(frozen=True, slots=True)
class Fix:
    """A change that would help. If it was `tried`, a copy of the model ran with it and gave tensors of these shapes."""

    text: str
    tried: bool
    outputs: tuple[Shape, ...] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """What an experienced reviewer would say on seeing the trace; `call` is the id of the call it is about.

    `message` has the fixes in words too.
    """

    code: str
    name: str
    call: int | None
    message: str
    site: Site | None = None
    fixes: tuple[Fix, ...] = ()
