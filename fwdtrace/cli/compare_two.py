"""`fwdtrace compare A B`: two specs or two saved traces side by side, or one spec run in two ways."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fwdtrace.errors import FwdtraceError

if TYPE_CHECKING:
    from fwdtrace.comparison import Comparison

DTYPES = ("bfloat16", "float16", "float32", "float64")


@dataclass(frozen=True)
class Asked:
    """What to compare and how; `other` is None for one model in two ways."""

    spec: str
    other: str | None
    maps: tuple[str, ...]
    input: tuple[str, ...]
    seed: int
    train: bool
    dtype: str | None
    same_init: bool
    max_bytes: int


def compared(asked: Asked) -> Comparison:
    """The comparison that was asked for; FwdtraceError if it cannot be made."""
    saved = [each for each in (asked.spec, asked.other or "") if each.endswith(".json")]
    if asked.dtype is not None and asked.dtype not in DTYPES:
        raise FwdtraceError(f"--dtype {asked.dtype}: there are {', '.join(DTYPES)}")
    from fwdtrace.align import renamed

    renamed({}, asked.maps)  # a map that cannot be read is refused before anything runs
    if not saved:
        return _of_models(asked)
    if len(saved) == 1 or asked.other is None:
        raise FwdtraceError(f"compare {saved[0]}: a saved trace is compared with another; give two .json files")
    if asked.train or asked.dtype or asked.same_init or asked.input:
        raise FwdtraceError("--train, --dtype, --same-init and --input are for models; saved traces have been run")
    from fwdtrace.compare import How, compare_traces
    from fwdtrace.trace_file import load_trace

    return compare_traces(load_trace(asked.spec), load_trace(asked.other), How(asked.maps))


def _of_models(asked: Asked) -> Comparison:
    import torch

    from fwdtrace.compare import How
    from fwdtrace.inputs import build_inputs
    from fwdtrace.load import load_model
    from fwdtrace.randomness import seed_all
    from fwdtrace.two_runs import Raised, Side, compare_runs, copy_weights

    try:
        seed_all(asked.seed)
        before = load_model(asked.spec)
        seed_all(asked.seed)
        after = load_model(asked.other or asked.spec)
        wanted = asked.input or before.inputs
        first = build_inputs(wanted, before.module, asked.seed)
        second = build_inputs(wanted, after.module, asked.seed)
        before.module.train(asked.train and asked.other is not None)
        after.module.train(asked.train)
        notes = []
        if asked.same_init:
            notes.append(copy_weights(before.module, after.module, asked.maps))
        args, kwargs = second.args, second.kwargs
        if asked.dtype:
            dtype = getattr(torch, asked.dtype)
            after.module.to(dtype)
            args = tuple(_cast(value, dtype) for value in args)
            kwargs = {name: _cast(value, dtype) for name, value in kwargs.items()}
        how = How(
            asked.maps,
            frozenset({"dtype"} if asked.dtype else ()),
            False if asked.dtype else None,
            tuple(notes),
        )
        sides = (
            Side(before.module, first.args, first.kwargs, asked.spec),
            Side(after.module, args, kwargs, asked.other or asked.spec),
        )
        return compare_runs(*sides, how, seed=asked.seed, max_bytes=asked.max_bytes)
    except Raised as raised:
        raise FwdtraceError(
            f"{str(raised)!r} raised while it ran; the traceback above is its own"
        ) from raised.__cause__
    except KeyboardInterrupt:
        raise FwdtraceError(f"interrupted while {asked.spec!r} was compared") from None


def _cast(value: object, dtype: object) -> object:
    import torch

    if isinstance(value, torch.Tensor) and value.is_floating_point():
        return value.to(dtype)  # type: ignore[call-overload]
    return value
