"""`fwdtrace compare A B`: two specs or two saved traces side by side, or one spec run in two ways."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fwdtrace.errors import FwdtraceError
from fwdtrace.run.cold_start import import_torch

if TYPE_CHECKING:
    from torch import nn

    from fwdtrace.compare.comparison import Comparison

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
    device: str | None
    compile: bool
    batch: int
    same_init: bool
    weights: Path | None
    max_bytes: int
    trust: bool = False

    @property
    def is_of_models(self) -> bool:
        """Whether something was asked for that only models have, and saved traces do not."""
        variants = (self.train, self.dtype, self.device, self.compile, self.batch > 1)
        return any((*variants, self.same_init, self.weights, self.input))


def compared(asked: Asked) -> tuple[Comparison, FwdtraceError | None]:
    """The comparison that was asked for, and what a model raised meanwhile; FwdtraceError if it cannot be made."""
    saved = [each for each in (asked.spec, asked.other or "") if each.endswith(".json")]
    if asked.dtype is not None and asked.dtype not in DTYPES:
        raise FwdtraceError(f"--dtype {asked.dtype}: there are {', '.join(DTYPES)}")
    from fwdtrace.compare.align import renamed

    renamed({}, asked.maps)  # a map that cannot be read is refused before anything runs
    if not saved:
        return _of_models(asked)
    if len(saved) == 1 or asked.other is None:
        raise FwdtraceError(f"compare {saved[0]}: a saved trace is compared with another; give two .json files")
    if asked.is_of_models:
        raise FwdtraceError(f"compare {saved[0]}: only models can be run in another way; saved traces have been run")
    from functools import partial

    from fwdtrace.compare import How, compare_traces
    from fwdtrace.compare.saved_numbers import measure, values_of
    from fwdtrace.trace.read import load_trace

    before, after = load_trace(asked.spec), load_trace(asked.other)
    if not before.calls and not after.calls:
        raise FwdtraceError(f"compare {asked.spec} {asked.other}: neither holds a call, so there is nothing to compare")
    ours, theirs = values_of(before, asked.spec), values_of(after, asked.other)
    measured = partial(measure, ours, theirs) if ours and theirs else None
    notes = (
        (f"values were saved with {asked.spec if ours else asked.other} only",) if bool(ours) != bool(theirs) else ()
    )
    return compare_traces(before, after, How(asked.maps, notes=notes), measured), None


def _of_models(asked: Asked) -> tuple[Comparison, FwdtraceError | None]:
    import_torch()
    from fwdtrace.compare import How
    from fwdtrace.compare.runs import Raised, Side, compare_runs
    from fwdtrace.compare.same_init import copy_weights
    from fwdtrace.models.inputs import build_inputs
    from fwdtrace.models.load import load_model
    from fwdtrace.models.randomness import seed_all
    from fwdtrace.models.weights import load_weights

    try:
        seed_all(asked.seed)
        before = load_model(asked.spec, trust=asked.trust)
        seed_all(asked.seed)
        after = load_model(asked.other or asked.spec, trust=asked.trust)
        wanted = asked.input or before.inputs
        first = build_inputs(wanted, before.module, asked.seed)
        second = build_inputs(wanted, after.module, asked.seed)
        before.module.train(asked.train and asked.other is not None)
        after.module.train(asked.train)
        notes = []
        if asked.weights:
            load_weights(before.module, asked.weights)
        one = Side(before.module, first.args, first.kwargs, asked.spec)
        two = Side(after.module, second.args, second.kwargs, asked.other or asked.spec)
        if asked.same_init or asked.weights:
            notes.append(copy_weights(one, two, asked.maps, asked.seed))
        args, kwargs = _in_another_way(asked, after.module, second.args, second.kwargs)
        two = replace(two, args=args, kwargs=kwargs)
        if asked.compile:
            notes.append("of compiled code only what goes in and comes out is seen, and compared")
        exact = False if asked.dtype or asked.compile or asked.batch > 1 else None
        how = How(asked.maps, _expected(asked), exact, tuple(notes))
        return compare_runs(one, two, how, seed=asked.seed, max_bytes=asked.max_bytes, batch=asked.batch), None
    except Raised as raised:
        error = FwdtraceError(f"{str(raised)!r} raised while it ran; the traceback above is its own")
        error.__cause__ = raised.__cause__
        return raised.comparison, error
    except KeyboardInterrupt:
        raise FwdtraceError(f"interrupted while {asked.spec!r} was compared") from None


def _expected(asked: Asked) -> frozenset[str]:
    """The kinds of difference that are what was asked for, and no news."""
    kinds = {"dtype"} if asked.dtype else set()
    kinds |= {"shape", "input shape"} if asked.batch > 1 else set()
    kinds |= {"missing", "ops", "hooks", "entry"} if asked.compile else set()
    return frozenset(kinds)


def _in_another_way(
    asked: Asked, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Change the second model as asked, and its inputs with it: device, type, how many examples, compiled."""
    import torch
    from torch.utils import _pytree

    from fwdtrace.models.devices import usable

    device = usable(asked.device) if asked.device else None
    if device is not None and device.type == "meta":
        raise FwdtraceError("--device meta: there are no numbers on meta to compare; run it with `fwdtrace run`")
    dtype = getattr(torch, asked.dtype) if asked.dtype else None
    tensors = [leaf for leaf in _pytree.tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor) and leaf.dim()]
    examples = tensors[0].shape[0] if tensors else 0

    def changed(value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        if asked.batch > 1 and value.dim() and value.shape[0] == examples:
            # Others after the same ones: what mixes examples then gives other numbers for the same.
            value = torch.cat([value, *(value.roll(number, -1) for number in range(1, asked.batch))])
        return value.to(device=device, dtype=dtype if value.is_floating_point() else None)

    model.to(device=device, dtype=dtype)
    if asked.compile:
        model.compile()
    found: tuple[tuple[Any, ...], dict[str, Any]] = _pytree.tree_map(changed, (args, kwargs))
    return found
