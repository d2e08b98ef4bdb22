"""The values of a Trace <-> rows of JSON: which key holds which field, what it may be, and when it is left out."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import MISSING, fields
from typing import Any

from fwdtrace.trace.backward import BackwardError, GradientFault
from fwdtrace.trace.findings import Finding, Fix
from fwdtrace.trace.info import EarlierCall, Magnitude, ModelInfo, RunInfo, StepInfo, StepOutput, Versions
from fwdtrace.trace.values import (
    Accelerator,
    Backward,
    BetweenHooks,
    Call,
    CallError,
    FailedModule,
    Gradient,
    Hook,
    NonFinite,
    Op,
    Operand,
    Site,
    Source,
    Stats,
    TensorMeta,
    Uncalled,
    Value,
)

# Left out of a row at their defaults; every other field is there, null included.
_OPTIONAL = {
    *((Call, name) for name in ("duration_us", "aliases", "opaque", "thread", "between_hooks", "failed_module")),
    *((Call, name) for name in ("nonfinite", "flops", "backward", "accelerator")),
    *((Call, name) for name in ("in_backward", "without_grad", "cold_us")),
    *((BetweenHooks, name) for name in ("forward_inputs", "forward_outputs")),
    *((FailedModule, name) for name in ("state", "settings")),
    *((Accelerator, name) for name in ("host_us", "memory_bytes")),
    (Uncalled, "hooks"),
    *((Hook, name) for name in ("changed", "file", "line")),
    *((TensorMeta, name) for name in ("layout", "stats", "placements", "local_shape", "source", "changed_by")),
    *((Source, name) for name in ("id", "output", "argument", "parameter", "buffer", "attribute", "call", "hook")),
    *((Gradient, name) for name in ("nan", "inf")),
    *((ModelInfo, name) for name in ("trainable", "parameter_bytes", "buffer_bytes", "name", "path")),
    *((NonFinite, name) for name in ("parameters", "operands", "spoiled_inputs")),
    *((Operand, name) for name in ("stats", "everywhere", "true_rows", "false_rows", "infinite_rows")),
    *((GradientFault, name) for name in ("event", "node", "elements", "nan", "inf", "parameters", "operands")),
    *((GradientFault, name) for name in ("between", "made_by", "site")),
    *((BackwardError, name) for name in ("event", "node", "saved", "state", "writers", "freed", "came_through")),
    *((RunInfo, name) for name in ("values", "values_digest", "call", "event", "replay", "repeat")),
    *((RunInfo, name) for name in ("replay_reason", "first_us", "usual_us", "step", "last_steps", "earlier")),
    *((RunInfo, name) for name in ("around", "program", "stepped")),
    *((StepInfo, name) for name in ("learning_rates", "gradient_norm", "outputs")),
    (StepOutput, "value"),
    (Magnitude, "value"),
    (EarlierCall, "largest"),
    *((CallError, name) for name in ("raised_below", "site", "outside")),
    (Finding, "fixes"),
    (Fix, "outputs"),
    *((Op, name) for name in ("error", "nonfinite", "without_grad")),
}
# The least that a number may be, where it is not 0; None where it may be any.
_LEAST: dict[tuple[type, str], int | None] = {
    (Call, "nth"): 1,
    (Source, "call"): 1,
    (RunInfo, "call"): 1,
    (RunInfo, "step"): 1,
    (StepInfo, "number"): 1,
    (StepOutput, "call"): 1,
    (EarlierCall, "call"): 1,
    (StepOutput, "value"): None,
    (StepInfo, "learning_rates"): None,
    (RunInfo, "repeat"): 1,
    (TensorMeta, "shape"): -1,
    (Operand, "shape"): -1,
    (TensorMeta, "local_shape"): -1,
    (Fix, "outputs"): -1,
    (RunInfo, "seed"): None,
    **{(Stats, name): None for name in ("mean", "min", "max")},
}
_BEYOND = 2**63
"""No whole number and no time in a trace is as large."""
_ONE_OBJECT = (TensorMeta, Value, Site, Source, Hook)

Shared = dict[Any, Any]
"""The parts read so far: equal ones become one object, as they were when they were recorded."""

Read = Callable[[Any, Shared], Any]
"""From the JSON of a field to its value; Wrong if it is not what the field must be."""


class Wrong(Exception):
    """A field that is not as it must be: its place, and what is wrong with it."""

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(place, reason)
        self.place, self.reason = place, reason

    def within(self, outer: str) -> Wrong:
        """The same seen from further out: `shape` becomes `inputs[0].shape`."""
        joint = "." if self.place and self.place[0] != "[" else ""
        return Wrong(outer + joint + self.place, self.reason)


def row_of(value: Any) -> Any:
    """The value as what `json` takes: a dict for a dataclass, a list for a tuple."""
    plan = _PLANS.get(type(value))
    if plan is None:
        return [row_of(part) for part in value] if type(value) is tuple else value
    row: dict[str, Any] = {}
    for attribute, key, _, default in plan:
        part = getattr(value, attribute)
        if part == default:
            continue
        if key is None:
            row |= row_of(part)
        else:
            row[key] = row_of(part)
    return row


def read_at(place: str, read: Read, value: Any, shared: Shared) -> Any:
    """What `read` makes of the value; Wrong names the place if it makes nothing of it."""
    try:
        return read(value, shared)
    except Wrong as wrong:
        raise wrong.within(place) from None


def reader_of(cls: type) -> Read:
    """From a JSON object to a value of this class."""
    is_shared = cls in _ONE_OBJECT

    def read(row: Any, shared: Shared) -> Any:
        if type(row) is not dict:
            raise _must_be("an object", row)
        parts = []
        for _, key, read_part, default in _PLANS[cls]:
            if key is None:
                parts.append(read_part(row, shared))
                continue
            try:
                if key in row:
                    parts.append(read_part(row[key], shared))
                elif default is MISSING:
                    raise Wrong("", "is missing")
                else:
                    parts.append(default)
            except Wrong as wrong:
                raise wrong.within(key) from None
        value = cls(*parts)
        return shared.setdefault(value, value) if is_shared else value

    return read


def _in_same_row(cls: type) -> Read:
    """From the row of a call to the value of this class whose fields are keys of that row; None if none is there."""
    read, keys, empty = reader_of(cls), {field.name for field in fields(cls)}, cls()

    def read_part(row: Any, shared: Shared) -> Any:
        if keys.isdisjoint(row):
            return None
        part = read(row, shared)
        return part if part != empty else None

    return read_part


def _tuple_of(read: Read) -> Read:
    def read_list(value: Any, shared: Shared) -> Any:
        if type(value) is not list:
            raise _must_be("a list", value)
        items = tuple([read_at(f"[{number}]", read, item, shared) for number, item in enumerate(value)])
        return shared.setdefault(items, items)

    return read_list


def _once(read: Read) -> Read:
    """The same for JSON of which much is alike: each text is read once. One that cannot be read is read every time."""

    def read_once(value: Any, shared: Shared) -> Any:
        key = read, repr(value)
        found = shared.get(key)
        if found is None:
            found = shared[key] = read(value, shared)
        return found

    return read_once


def _or_null(read: Read) -> Read:
    return lambda value, shared: None if value is None else read(value, shared)


def _exactly(kind: type, name: str) -> Read:
    def read(value: Any, shared: Shared) -> Any:
        if type(value) is not kind:
            raise _must_be(name, value)
        return shared.setdefault(value, value) if kind is str else value

    return read


def _whole(least: int | None) -> Read:
    lowest = -_BEYOND if least is None else least

    def read(value: Any, shared: Shared) -> Any:
        if type(value) is not int:
            raise _must_be("a whole number", value)
        if not lowest <= value < _BEYOND:
            raise _must_be(f"a whole number from {'-2^63' if least is None else least} to 2^63 - 1", value)
        return value

    return read


def _number(least: int | None) -> Read:
    def read(value: Any, shared: Shared) -> float:
        if type(value) not in (int, float) or not abs(value) <= sys.float_info.max:  # neither NaN nor endless
            raise _must_be("a number", value)
        if least is not None and value < least:
            raise _must_be(f"a number from {least}", value)
        return float(value)

    return read


def _duration(value: Any, shared: Shared) -> float:
    number: float = _from_zero(value, shared)
    if number >= _BEYOND:
        raise _must_be("a number below 2^63", value)
    return number


_from_zero = _number(0)


def _one_of(*texts: str) -> Read:
    def read(value: Any, shared: Shared) -> Any:
        if value not in texts:
            raise _must_be(" or ".join(filter(None, (", ".join(texts[:-1]), texts[-1]))), value)
        return shared.setdefault(value, value)

    return read


def _must_be(what: str, value: Any) -> Wrong:
    text = repr(value)
    return Wrong("", f"must be {what}, not {text if len(text) <= 40 else text[:39] + '…'}")


_text = _exactly(str, "text")
_tensor, _other = reader_of(TensorMeta), reader_of(Value)


def _leaf(value: Any, shared: Shared) -> Any:
    return (_tensor if type(value) is dict and "shape" in value else _other)(value, shared)


def _leaves_once(value: Any, shared: Shared) -> Any:
    """Leaves, of which many calls have the same ones; those with a source are the call's own, and not looked up."""
    own = type(value) is list and any(type(leaf) is dict and "source" in leaf for leaf in value)
    return (_leaves if own else _shared_leaves)(value, shared)


_leaves = _tuple_of(_leaf)
_shared_leaves = _once(_leaves)

# By the annotations in values.py, which are the one place that says what a field holds.
_KINDS: dict[str, Read] = {
    "bool": _exactly(bool, "true or false"),
    "str": _text,
    "str | None": _or_null(_text),
    "Entry": _one_of("__call__", "forward"),
    "WithoutGrad | None": _or_null(_one_of("no_grad", "inference_mode", "checkpoint")),
    "Fault": _one_of("non-finite", "zero", "none"),
    "Between | None": _or_null(_one_of("result", "parameter")),
    "Stats | None": _or_null(reader_of(Stats)),
    "NonFinite | None": _or_null(reader_of(NonFinite)),
    "Backward | None": _or_null(reader_of(Backward)),
    "Source | None": _or_null(reader_of(Source)),
    "Site | None": _or_null(_once(reader_of(Site))),
    "CallError | None": _or_null(reader_of(CallError)),
    "BetweenHooks | None": _in_same_row(BetweenHooks),
    "FailedModule | None": _in_same_row(FailedModule),
    "Accelerator | None": _in_same_row(Accelerator),
    "Value | None": _or_null(_other),
    "tuple[Value, ...]": _tuple_of(_other),
    "tuple[StepOutput, ...]": _tuple_of(reader_of(StepOutput)),
    "tuple[StepInfo, ...]": _tuple_of(reader_of(StepInfo)),
    "tuple[Magnitude, ...]": _tuple_of(reader_of(Magnitude)),
    "tuple[EarlierCall, ...]": _tuple_of(reader_of(EarlierCall)),
    "tuple[Fix, ...]": _tuple_of(reader_of(Fix)),
    "tuple[str, ...]": _once(_tuple_of(_text)),
    "tuple[Operand, ...]": _tuple_of(reader_of(Operand)),
    "tuple[Hook, ...]": _once(_tuple_of(reader_of(Hook))),
    "tuple[Leaf, ...]": _leaves_once,
    "tuple[Leaf, ...] | None": _or_null(_leaves),
}
_NUMBERS: dict[str, Callable[[int | None], Read]] = {
    "int": _whole,
    "int | None": lambda least: _or_null(_whole(least)),
    "float": _number,
    "float | None": lambda least: _or_null(_number(least)),
    "tuple[int, ...]": lambda least: _tuple_of(_whole(least)),
    "tuple[int, ...] | None": lambda least: _or_null(_tuple_of(_whole(least))),
    "tuple[float, ...]": lambda least: _tuple_of(_number(least)),
    "tuple[Shape, ...]": lambda least: _tuple_of(_tuple_of(_whole(least))),
}


def _reader_for(cls: type, name: str, annotation: str) -> Read:
    if name in ("duration_us", "host_us", "cold_us", "first_us", "usual_us"):  # added, and must not come to infinity
        return _or_null(_duration) if annotation.endswith("None") else _duration
    numbers = _NUMBERS.get(annotation)
    return numbers(_LEAST.get((cls, name), 0)) if numbers else _KINDS[annotation]


# The key in JSON where it is not the name of the field; None where the fields of its value are keys of the same row.
_KEYS = {"class_name": "class", **dict.fromkeys(("between_hooks", "failed_module", "accelerator"))}
# For each type and field: the attribute, the key in JSON, how it is read, and the default at which it is left out.
_PLANS: dict[type, list[tuple[str, str | None, Read, Any]]] = {
    cls: [
        (
            field.name,
            _KEYS.get(field.name, field.name),
            _reader_for(cls, field.name, str(field.type)),
            field.default if (cls, field.name) in _OPTIONAL else MISSING,
        )
        for field in fields(cls)
    ]
    for cls in (
        *(Versions, ModelInfo, RunInfo, StepInfo, StepOutput, EarlierCall, Magnitude, Call, Op, Finding),
        *(Uncalled, Gradient),
        *(BetweenHooks, FailedModule, Accelerator),
        *(TensorMeta, Stats, Source, Value, Site, Hook, CallError, NonFinite, Operand, Backward, Fix),
        *(GradientFault, BackwardError),
    )
}
