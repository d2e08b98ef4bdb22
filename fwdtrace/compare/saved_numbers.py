"""`--save-values`: the numbers of a run in a .safetensors file, and those of two runs measured without torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fwdtrace.compare.agreement import Distances
from fwdtrace.compare.distance import NOT_COMPARABLE, SAME, Distance, distance_of_arrays, distance_of_stats, furthest
from fwdtrace.errors import FwdtraceError
from fwdtrace.trace import Call, Stats, Trace

if TYPE_CHECKING:
    from fwdtrace.recorder.measures.keeper import Kept, Sides

FORMAT = "fwdtrace.values/1"
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
    from safetensors.torch import save_file

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
        save_file(tensors, file, metadata=about)
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


def measure(before: SavedValues, after: SavedValues, call: Call, other: Call) -> Distances:
    """How far the saved inputs and the saved outputs of two calls are apart; None for what cannot be compared."""
    return (
        _distance(before, after, before.side(call, "inputs"), after.side(other, "inputs")),
        _distance(before, after, before.side(call, "outputs"), after.side(other, "outputs")),
    )


def _distance(
    before: SavedValues, after: SavedValues, ours: list[int | None], theirs: list[int | None]
) -> Distance | None:
    if len(ours) != len(theirs):
        return None
    pairs = [(one, other) for one, other in zip(ours, theirs, strict=True) if one is not None and other is not None]
    if any(before.about(one)["shape"] != after.about(other)["shape"] for one, other in pairs):
        return None
    return furthest(_distance_of_tensors(before, one, after, other) for one, other in pairs)


def _distance_of_tensors(before: SavedValues, one: int, after: SavedValues, other: int) -> Distance:
    ours, theirs = before.about(one), after.about(other)
    dtypes = ours["dtype"], theirs["dtype"]
    if dtypes[0] == dtypes[1] and ours["digest"] == theirs["digest"]:
        return SAME
    a, b = before.array(one), after.array(other)
    if a is None or b is None:
        if not ours["stats"] or not theirs["stats"]:
            return NOT_COMPARABLE
        return distance_of_stats(Stats(**ours["stats"]), Stats(**theirs["stats"]), dtypes)
    import numpy

    unequal = a != b if dtypes == ("int64", "int64") else None
    with numpy.errstate(all="ignore"):
        return distance_of_arrays(a.astype("f8"), b.astype("f8"), dtypes, unequal)
