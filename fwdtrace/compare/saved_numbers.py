"""`--save-values`: the numbers of a run in a .safetensors file, and those of two runs measured without torch."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fwdtrace.compare.comparison import Apart
from fwdtrace.compare.tolerances import SAME, UNLIKE, apart_by_stats, furthest, judged
from fwdtrace.errors import FwdtraceError
from fwdtrace.trace import Call, Stats, Trace
from fwdtrace.trace.files import replacing

if TYPE_CHECKING:
    from fwdtrace.recorder.measures.keeper import Kept, Sides

FORMAT = "fwdtrace.values/1"
EPSILONS = {"bfloat16": 2.0**-7, "float16": 2.0**-10, "float32": 2.0**-23, "float64": 2.0**-52}
_NUMPY = {
    **{"float64": "<f8", "float32": "<f4", "float16": "<f2", "bfloat16": "<u2", "int64": "<i8", "int32": "<i4"},
    **{"int16": "<i2", "int8": "i1", "uint8": "u1", "bool": "?"},
}
"""How numpy reads the elements of each type that is saved whole; a tensor of another has its fingerprint alone."""


def save_values(sides: Mapping[int, Sides], file: Path) -> None:
    """Write what was kept of every call: whole tensors by number, and of each its digest and statistics.

    FwdtraceError if the file cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save, save_file

    numbers: dict[int, int] = {}
    rows: list[dict[str, Any]] = []
    tensors: dict[str, Any] = {}

    def number_of(kept: Kept | None) -> int | None:
        if kept is None:
            return None
        if id(kept) not in numbers:
            numbers[id(kept)] = len(rows)
            stats = asdict(kept.stats) if kept.stats else None
            dtype = str(kept.dtype).removeprefix("torch.")
            if kept.tensor is not None and dtype in _NUMPY and str(kept.tensor.layout) == "torch.strided":
                tensors[str(len(rows))] = kept.tensor.contiguous()
            rows.append({"shape": kept.shape, "dtype": dtype, "digest": kept.digest.hex(), "stats": stats})
        return numbers[id(kept)]

    calls = {str(call): [[number_of(kept) for kept in side] for side in both] for call, both in sides.items()}
    about = {"format": FORMAT, "calls": json.dumps(calls), "tensors": json.dumps(rows)}
    try:
        with replacing(file) as path:
            if path == file:  # a pipe: the library would put a file of its own in its place
                path.write_bytes(save(tensors, metadata=about))
            else:
                save_file(tensors, path, metadata=about)
    except (OSError, SafetensorError) as error:
        raise FwdtraceError(f"--save-values {file}: cannot be written: {error}") from None


class SavedValues:
    """The numbers of one saved run, read as they are needed."""

    def __init__(self, file: Path) -> None:
        self.file = file
        try:
            with file.open("rb") as stream:
                length = int.from_bytes(stream.read(8), "little")
                self._header = json.loads(stream.read(length))
            about = self._header.pop("__metadata__")
            if about["format"] != FORMAT:
                raise ValueError
            self._calls: dict[str, Any] = json.loads(about["calls"])
            self._rows: list[dict[str, Any]] = json.loads(about["tensors"])
        except OSError as error:
            raise FwdtraceError(f"{file}: cannot be read: {error.strerror}") from None
        except (ValueError, KeyError, TypeError, OverflowError, MemoryError):
            raise FwdtraceError(f"{file}: was not written by `fwdtrace run --save-values`") from None
        self._start = 8 + length

    def side(self, call: Call, side: Literal["inputs", "outputs"]) -> list[int | None]:
        """The numbers of the tensors on one side of a call, None for one without values."""
        both: list[list[int | None]] = self._calls.get(str(call.id), [[], []])
        return both[side == "outputs"]

    def about(self, number: int) -> dict[str, Any]:
        """Shape, dtype, digest and statistics of a tensor."""
        return self._rows[number]

    def array(self, number: int) -> Any:
        """The elements as a numpy array, or None: not saved whole, or no numpy."""
        found = self._header.get(str(number))
        if found is None:
            return None
        try:
            import numpy
        except ImportError:
            return None
        begin, end = found["data_offsets"]
        with self.file.open("rb") as stream:
            stream.seek(self._start + begin)
            elements = numpy.frombuffer(stream.read(end - begin), dtype=_NUMPY[self.about(number)["dtype"]])
        if found["dtype"] == "BF16":  # the upper half of a float32
            elements = (elements.astype("<u4") << 16).view("<f4")
        return elements


def values_of(trace: Trace, file: str) -> SavedValues | None:
    """The numbers saved with the trace in a file; None if there are none. FwdtraceError if they are gone."""
    if trace.run.values is None:
        return None
    values = Path(file).with_name(trace.run.values)
    if not values.exists():
        raise FwdtraceError(f"{file}: its values are to be in {values}, which is not there; put it beside the trace")
    return SavedValues(values)


def measure(
    before: SavedValues, after: SavedValues, call: Call, other: Call, side: Literal["inputs", "outputs"]
) -> Apart | None:
    """How far the saved tensors on one side of two calls are apart; None if they cannot be compared."""
    ours, theirs = before.side(call, side), after.side(other, side)
    if len(ours) != len(theirs):
        return None
    pairs = [(one, two) for one, two in zip(ours, theirs, strict=True) if one is not None and two is not None]
    if not pairs or any(before.about(one)["shape"] != after.about(two)["shape"] for one, two in pairs):
        return None
    return furthest(_apart(before, one, after, two) for one, two in pairs)


def _apart(before: SavedValues, one: int, after: SavedValues, two: int) -> Apart:
    ours, theirs = before.about(one), after.about(two)
    dtypes = ours["dtype"], theirs["dtype"]
    if dtypes[0] == dtypes[1] and ours["digest"] == theirs["digest"]:
        return SAME
    a, b = before.array(one), after.array(two)
    if a is None or b is None:
        if not ours["stats"] or not theirs["stats"]:
            return UNLIKE
        return apart_by_stats(Stats(**ours["stats"]), Stats(**theirs["stats"]), dtypes)
    import numpy

    unequal = a != b if dtypes == ("int64", "int64") else None
    a, b = a.astype("f8"), b.astype("f8")
    with numpy.errstate(all="ignore"):
        difference = numpy.abs(a - b)
    difference[(a == b) | (numpy.isnan(a) & numpy.isnan(b))] = 0.0
    if unequal is not None:  # of whole numbers too large for float64
        difference[unequal] = difference[unequal].clip(min=1.0)
    difference[numpy.isnan(difference)] = math.inf
    if not difference.size:
        return SAME
    place = int(difference.argmax())
    absolute = float(difference[place])
    if not math.isfinite(absolute):
        return UNLIKE
    largest = float(numpy.abs(a[numpy.isfinite(a)]).max(initial=0.0))
    return judged(absolute, largest, _ulp(absolute, abs(float(a[place])), dtypes), dtypes)


def _ulp(difference: float, size: float, dtypes: tuple[str, str]) -> int | None:
    epsilon = EPSILONS.get(dtypes[0])
    if epsilon is None or dtypes[0] != dtypes[1]:
        return None
    smallest = {"float16": 2.0**-14, "float64": 2.0**-1022}.get(dtypes[0], 2.0**-126)
    return round(difference / math.ldexp(epsilon, math.frexp(max(size, smallest))[1] - 1))
