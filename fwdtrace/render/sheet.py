"""The sheet that a trace is written on: how wide it is, which letters it takes, and what is not written each time."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from fwdtrace.render.cells import Listing
from fwdtrace.render.words import printable
from fwdtrace.trace import Trace, tensors_in


@dataclass(frozen=True, slots=True)
class Sheet:
    """The `dtype` of most tensors and the `device` of the run are not written beside each tensor.

    `width` is in cells of a terminal; `encoding` is that of the output, and what it does not take is escaped.
    `listings` keeps the texts of inputs and outputs that were written already, as many calls share their leaves.
    """

    dtype: str
    device: str
    width: int = 80
    encoding: str = "utf-8"
    listings: dict[tuple[int, str], Listing] = field(default_factory=dict, repr=False, compare=False)

    def text(self, text: str) -> str:
        """The text on one line, with everything escaped that would not be seen as itself here."""
        return printable(text, self.encoding)


def sheet_for(trace: Trace, width: int = 80, encoding: str = "utf-8") -> Sheet:
    """A sheet for this trace: its dtype is the floating-point type that most tensors have."""
    sides = (side for call in trace.calls for side in (call.inputs, call.outputs))
    dtypes = Counter(leaf.dtype for side in sides for leaf in tensors_in(side) if "float" in leaf.dtype)
    dtype = max(dtypes, key=lambda name: (dtypes[name], name == "float32"), default="float32")
    return Sheet(dtype, trace.run.device, width, encoding)
