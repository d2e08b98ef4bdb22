"""`--save-values`: the numbers of a run in a .safetensors file, and those of two runs measured without torch."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from fwdtrace.compare.agreement import Distances
from fwdtrace.compare.by_content import Summaries, Summary
from fwdtrace.compare.numbers.distance import (
    NOT_COMPARABLE,
    SAME,
    Distance,
    distance_of_arrays,
    distance_of_stats,
    furthest,
)
from fwdtrace.compare.programs.saved_step import STEP, read_step, rows_of_step
from fwdtrace.errors import FwdtraceError
from fwdtrace.trace import Call, Stats, Trace, tensors_in
from fwdtrace.trace.digests import digest_of_bytes, earlier_digest_of_bytes
from fwdtrace.trace.files import replacing
from fwdtrace.trace.json_stream import object_of
from fwdtrace.trace.rows import Wrong, read_at, reader_of

if TYPE_CHECKING:
    from fwdtrace.recorder.measures.keeper import Kept, Sides
    from fwdtrace.recorder.measures.training_keeper import KeptValues

FORMAT = "fwdtrace.values/1"
_NUMPY = {
    **{"float64": "<f8", "float32": "<f4", "float16": "<f2", "bfloat16": "<u2", "int64": "<i8", "int32": "<i4"},
    **{"int16": "<i2", "int8": "i1", "uint8": "u1", "bool": "?"},
}
"""How numpy reads the elements of each type that is saved whole; a tensor of another has its fingerprint alone."""
_SIZES = {dtype: 1 if code == "?" else int(code[-1]) for dtype, code in _NUMPY.items()}
_read_stats = reader_of(Stats)


def save_values(sides: Mapping[int, Sides], file: Path, step: KeptValues | None = None) -> str:
    """Write what was kept of every call: whole tensors by number, and of each its digest and statistics.

    `step` has what was kept beside these of a training step. Gives the digest of it all, by which a trace knows its
    file. FwdtraceError if the file cannot be written.
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
                tensors[str(len(rows))] = kept.tensor.resolve_neg().contiguous()
            row = {"shape": kept.shape, "dtype": dtype, "digest": kept.digest.hex(), "stats": stats}
            rows.append(row if kept.placed is None else {**row, "placed": asdict(kept.placed)})
        return numbers[id(kept)]

    calls = {str(call): [[number_of(kept) for kept in side] for side in both] for call, both in sides.items()}
    about = {"format": FORMAT, "calls": json.dumps(calls)}
    if step is not None:
        about |= rows_of_step(step, number_of)
    about["tensors"] = json.dumps(rows)
    try:
        with replacing(file) as path:
            if path == file:  # a pipe: the library would put a file of its own in its place
                path.write_bytes(save(tensors, metadata=about))
            else:
                save_file(tensors, path, metadata=about)
    except (OSError, SafetensorError) as error:
        raise FwdtraceError(f"--save-values {file}: cannot be written: {error}") from None
    return _digest(about, tensors)


INPUTS_AND_OUTPUTS: tuple[Literal["inputs", "outputs"], ...] = ("inputs", "outputs")
"""The fields of a call that have tensors, in order."""


class Values(Protocol):
    """The numbers of a run by the numbers of its tensors, as `SavedValues` has them."""

    def side(self, call: Call, side: Literal["inputs", "outputs"]) -> list[int | None]:
        """The tensors on one side of a call."""

    def about(self, number: int) -> dict[str, Any]:
        """Shape, dtype, digest and statistics of a tensor."""

    def array(self, number: int) -> Any:
        """The elements."""


class SavedValues:
    """The numbers of one saved run, read as they are needed. FwdtraceError if the file is malformed.

    `expected` is the digest of the file if it is known; by it a file is told that holds digests of the earlier kind.
    """

    def __init__(self, file: Path, expected: str | None = None) -> None:
        self.file, self._expected = file, expected
        try:
            self._open()
        except OSError as error:
            raise FwdtraceError(f"{file}: cannot be read: {error.strerror}") from None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise FwdtraceError(f"{file}: was not written by `fwdtrace run --save-values`") from None
        except Wrong as wrong:
            raise FwdtraceError(f"{file}: holds no values that can be read: {wrong.place} {wrong.reason}") from None

    def _open(self) -> None:
        if not self.file.is_file():
            raise Wrong("it", "is no regular file")
        size = self.file.stat().st_size
        with self.file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if length > size - 8:
                raise ValueError
            header = json.loads(stream.read(length), object_pairs_hook=object_of)
        about = header.pop("__metadata__")
        if about["format"] != FORMAT:
            raise ValueError
        self.digest, self._digest_of = _digest(about, header), digest_of_bytes
        if self._expected == (earlier := _digest(about, header, earlier_digest_of_bytes)):
            self.digest, self._digest_of = earlier, earlier_digest_of_bytes
        self._start = 8 + length
        self._rows: list[dict[str, Any]] = json.loads(about["tensors"], object_pairs_hook=object_of)
        self._calls: dict[str, Any] = json.loads(about["calls"], object_pairs_hook=object_of)
        self.step = read_step(about, len(self._rows))
        if type(self._rows) is not list:
            raise ValueError
        for number, row in enumerate(self._rows):
            read_at(f"tensors[{number}]", _read_row, row, {})
        for call, sides in self._calls.items():
            read_at(f"calls.{int(call)}", partial(_read_sides, len(self._rows)), sides, {})
        self._places = {int(name): self._place(int(name), entry, size) for name, entry in header.items()}

    def _place(self, number: int, entry: Any, size: int) -> tuple[int, int]:
        """Where the elements of a tensor begin and how many bytes they are."""
        begin, end = entry["data_offsets"]
        if type(begin) is not int or type(end) is not int or not 0 <= begin <= end < 2**63:
            raise ValueError
        if not 0 <= number < len(self._rows):
            raise ValueError
        row = self._rows[number]
        length = math.prod(row["shape"]) * _SIZES[row["dtype"]]
        if end - begin != length:
            raise Wrong(f"tensors[{number}]", f"has {end - begin} bytes, which its shape and dtype do not give")
        missing = self._start + end - size
        if missing > 0:
            raise Wrong("it", f"is cut short: it ends {missing} bytes before tensors[{number}] does")
        return self._start + begin, length

    @property
    def has_earlier_digests(self) -> bool:
        """Whether its digests are of a kind that is saved no longer."""
        return self._digest_of is earlier_digest_of_bytes

    def side(self, call: Call, side: Literal["inputs", "outputs"]) -> list[int | None]:
        """The numbers of the tensors on one side of a call, None for one without values."""
        both: list[list[int | None]] = self._calls.get(str(call.id), [[], []])
        return both[side == "outputs"]

    def summaries(self, call: Call) -> Summaries:
        """What is known of the tensors that went into a call, and of those that came out."""
        sides = (
            [self._summary(number) for number in side]
            for side in (self.side(call, "inputs"), self.side(call, "outputs"))
        )
        ours, theirs = (tuple(summary for summary in side if summary is not None) for side in sides)
        return ours, theirs

    def _summary(self, number: int | None) -> Summary | None:
        row = self._rows[number] if number is not None else None
        return Summary(math.prod(row["shape"]), Stats(**row["stats"])) if row is not None and row["stats"] else None

    def about(self, number: int) -> dict[str, Any]:
        """Shape, dtype, digest and statistics of a tensor."""
        return self._rows[number]

    def array(self, number: int) -> Any:
        """The elements as a numpy array, or None: not saved whole, or no numpy."""
        place = self._places.get(number)
        if place is None:
            return None
        try:
            import numpy
        except ImportError:
            return None
        row = self.about(number)
        with self.file.open("rb") as stream:
            stream.seek(place[0])
            read = stream.read(place[1])
        if self._digest_of(read).hex() != row["digest"]:
            raise FwdtraceError(f"{self.file}: the numbers of tensors[{number}] have changed since they were saved")
        elements = numpy.frombuffer(read, dtype=_NUMPY[row["dtype"]])
        if row["dtype"] == "bfloat16":  # the upper half of a float32
            elements = (elements.astype("<u4") << 16).view("<f4")
        return elements


def _digest(about: dict[str, str], whole: Iterable[str], digest_of: Callable[[bytes], bytes] = digest_of_bytes) -> str:
    """The digest of which call has which tensors, of the digests of these, and of which are there whole."""
    step = (about[name] for name in STEP if name in about)
    text = "\n".join((about["calls"], about["tensors"], *step, *sorted(whole)))
    return digest_of(text.encode()).hex()


def _read_row(value: Any, shared: Any) -> Any:
    """What is known of a tensor; Wrong if it is not what it must be."""
    if type(value) is not dict:
        raise Wrong("", "must be an object")
    shape = value["shape"]
    if type(shape) is not list or not all(type(size) is int and 0 <= size < 2**63 for size in shape):
        raise Wrong("shape", "must be a list of whole numbers from 0")
    if type(value["dtype"]) is not str or type(value["digest"]) is not str:
        raise Wrong("", "must have a dtype and a digest")
    if value["stats"] is not None:
        read_at("stats", _read_stats, value["stats"], shared)
    return value


def _read_sides(tensors: int, value: Any, _: Any) -> Any:
    """The numbers of the tensors that went into a call and came out; Wrong if that is not what it is."""
    if type(value) is not list or len(value) != 2 or not all(type(side) is list for side in value):
        raise Wrong("", "must be two lists")
    for number in (*value[0], *value[1]):
        if number is not None and (type(number) is not int or not 0 <= number < tensors):
            raise Wrong("", f"must hold numbers of tensors below {tensors}, not {str(number)[:40]!r}")
    return value


def values_of(trace: Trace, file: str) -> SavedValues | None:
    """The numbers saved with the trace in a file; None if there are none. FwdtraceError if they are gone."""
    if trace.run.values is None:
        return None
    path = Path(file).with_name(trace.run.values)
    if not path.exists():
        raise FwdtraceError(f"{file}: its values are to be in {path}, which is not there; put it beside the trace")
    values = SavedValues(path, trace.run.values_digest)
    if trace.run.values_digest not in (None, values.digest):
        raise FwdtraceError(f"{path} holds the values of another run than {file}; save those of each run in a file")
    return values


def check_digests(values: Iterable[Values]) -> None:
    """FwdtraceError if files hold digests of both kinds, of which nobody can say whether they are of the same."""
    saved: Sequence[SavedValues] = [each for each in values if isinstance(each, SavedValues)]
    earlier = [each for each in saved if each.has_earlier_digests]
    if earlier and len(earlier) < len(saved):
        now = next(each for each in saved if not each.has_earlier_digests)
        raise FwdtraceError(
            f"{earlier[0].file} was saved by an earlier fwdtrace, whose digests are not those that {now.file} holds; "
            "save both with the same fwdtrace"
        )


def measure(before: Values, after: Values, call: Call, other: Call) -> Distances:
    """How far the saved inputs and the saved outputs of two calls are apart; None for what cannot be compared."""
    return (
        _distance(before, after, before.side(call, "inputs"), after.side(other, "inputs")),
        _distance(before, after, before.side(call, "outputs"), after.side(other, "outputs")),
    )


def measure_by_stats(before: SavedValues | None, after: SavedValues | None, call: Call, other: Call) -> Distances:
    """How far the outputs of two calls are apart by statistics, of which one side has those in its saved values."""
    ours, theirs = _output_stats(before, call), _output_stats(after, other)
    if len(ours) != len(theirs):
        return None, None
    return None, furthest(
        distance_of_stats(one[0], two[0], (one[1], two[1]))
        for one, two in zip(ours, theirs, strict=True)
        if one and two
    )


def _output_stats(values: SavedValues | None, call: Call) -> list[tuple[Stats, str] | None]:
    if values is None:
        return [(leaf.stats, leaf.dtype) if leaf.stats else None for leaf in tensors_in(call.outputs)]
    rows = [values.about(number) if number is not None else None for number in values.side(call, "outputs")]
    return [(Stats(**row["stats"]), row["dtype"]) if row and row["stats"] else None for row in rows]


def _distance(before: Values, after: Values, ours: list[int | None], theirs: list[int | None]) -> Distance | None:
    if len(ours) != len(theirs):
        return None
    pairs = [(one, other) for one, other in zip(ours, theirs, strict=True) if one is not None and other is not None]
    if any(before.about(one)["shape"] != after.about(other)["shape"] for one, other in pairs):
        return None
    return furthest(distance_of_saved(before, one, after, other) for one, other in pairs)


def distance_of_saved(before: Values, one: int, after: Values, other: int) -> Distance:
    """How far two saved tensors of one shape are apart: by their elements, or else by their digests and statistics."""
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
