"""The numbers of two runs: how far two tensors are apart, and what two modules hold that is not the same."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn

from fwdtrace.compare.comparison import Apart
from fwdtrace.compare.tolerances import SAME, UNLIKE, apart_by_stats, furthest, judged
from fwdtrace.recorder.measures.keeper import Kept, Sides, digest_of
from fwdtrace.recorder.measures.values import stats_of
from fwdtrace.trace import Call, Stats

_INTEGERS = {torch.float64: torch.int64, torch.float32: torch.int32, torch.float16: torch.int16} | {
    torch.bfloat16: torch.int16
}

Side = Literal["inputs", "outputs"]


class Values:
    """What was kept of two runs, measured against each other; nothing is known of a call that kept nothing."""

    def __init__(
        self, before: Mapping[int, Sides], after: Mapping[int, Sides], *, part: bool = False, batch: int = 1
    ) -> None:
        self._before = before
        self._after = after
        self._part = part
        self._batch = batch

    def measure(self, call: Call, other: Call, side: Side) -> Apart | None:
        """How far the tensors on one side of two calls are apart; None if they cannot be compared.

        With `part`, tensors that only one of the two has are left out. With `batch`, of a tensor that has that many
        times the rows of the other, only the first of them are compared.
        """
        ours, theirs = self._before.get(call.id), self._after.get(other.id)
        if ours is None or theirs is None:
            return None
        place = 0 if side == "inputs" else 1
        known, found = ours[place], theirs[place]
        if self._part:
            known, found = (tuple(each for each in side if each) for side in (known, found))
        elif len(known) != len(found):
            return None
        both = [(one, other) for one, other in zip(known, found, strict=False) if one and other]
        if not both:
            return None
        pairs = [(one, self._same_examples(one, other)) for one, other in both]
        if any(one.shape != other.shape for one, other in pairs):
            return None
        return furthest(apart(one, other) for one, other in pairs)

    def _same_examples(self, one: Kept, other: Kept) -> Kept:
        """The second tensor as far as it is of the examples that the first has too."""
        if self._batch == 1 or other.tensor is None or not one.shape:
            return other
        if other.shape != (self._batch * one.shape[0], *one.shape[1:]):
            return other
        return Kept(one.shape, other.dtype, other.tensor[: one.shape[0]])


def apart(one: Kept, other: Kept) -> Apart:
    """How far two tensors of one shape are apart."""
    if one.tensor is None or other.tensor is None:
        return _by_digest(one, other)
    a, b = _dense(one.tensor), _dense(other.tensor)
    if a.dtype == b.dtype and a.device == b.device and _same_bits(a, b):
        return SAME
    unequal = (a.cpu() != b.cpu()).reshape(-1) if one.dtype == other.dtype == torch.int64 else None
    wide = torch.complex128 if a.is_complex() or b.is_complex() else torch.float64
    a, b = a.cpu().to(wide).reshape(-1), b.cpu().to(wide).reshape(-1)
    difference = (a - b).abs()
    difference[(a == b) | (a.isnan() & b.isnan())] = 0.0
    if unequal is not None:  # of whole numbers too large for float64
        difference[unequal] = difference[unequal].clamp(min=1.0)
    if not difference.numel():
        return replace(SAME, same=False)
    place = int(difference.nan_to_num(math.inf, math.inf).argmax())
    absolute = float(difference[place])
    if not math.isfinite(absolute):
        return UNLIKE
    largest = float(a.abs().nan_to_num(0.0, 0.0, 0.0).max())
    ulp = _ulp(absolute, float(a[place].abs()), one.dtype) if one.dtype == other.dtype else None
    return judged(absolute, largest, ulp, (_name(one.dtype), _name(other.dtype)))


def held_apart(one: nn.Module, other: nn.Module) -> Iterator[str]:
    """What two modules hold themselves and not alike: their class, settings, mode, parameters and buffers, in words."""
    if type(one) is not type(other) and type(one).__name__ != type(other).__name__:
        yield f"{type(one).__name__} became {type(other).__name__}"
    for what, ours, theirs in (("settings", _settings(one), _settings(other)), ("mode", _mode(one), _mode(other))):
        if ours != theirs:
            yield f"{what} ({ours}) became ({theirs})"
    mine, found = _own(one), _own(other)
    for name in dict.fromkeys([*mine, *found]):
        if name not in mine or name not in found:
            yield f"{name} is only in the {'second' if name in found else 'first'}"
        elif mine[name].shape != found[name].shape:
            yield f"{name} is {list(mine[name].shape)} and {list(found[name].shape)}"
        else:
            distance = apart(*(Kept(tuple(each.shape), each.dtype, each) for each in (mine[name], found[name])))
            if not distance.same:
                yield f"{name} differs" + (f" by up to {distance.absolute:.2g}" if distance.absolute else "")


def _same_bits(one: Tensor, other: Tensor) -> bool:
    """Whether two dense tensors of one type and shape are the same bit for bit."""
    if one.dtype in _INTEGERS:  # as integers, for NaN is not its own equal, and -0.0 is 0.0's
        return torch.equal(*(each.contiguous().view(_INTEGERS[one.dtype]) for each in (one, other)))
    return torch.equal(one, other) or digest_of(one) == digest_of(other)


def _by_digest(one: Kept, other: Kept) -> Apart:
    dtypes = _name(one.dtype), _name(other.dtype)
    if one.dtype == other.dtype and _digest(one) == _digest(other):
        return SAME
    first, second = _stats(one), _stats(other)
    return apart_by_stats(first, second, dtypes) if first and second else UNLIKE


def _digest(kept: Kept) -> bytes:
    return kept.digest if kept.tensor is None else digest_of(_dense(kept.tensor))


def _stats(kept: Kept) -> Stats | None:
    return kept.stats if kept.tensor is None else stats_of(kept.tensor)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _ulp(difference: float, size: float, dtype: torch.dtype) -> int | None:
    if not dtype.is_floating_point:
        return None
    limits = torch.finfo(dtype)
    exponent = math.frexp(max(size, limits.tiny))[1] - 1
    return round(difference / math.ldexp(limits.eps, exponent))


def _dense(tensor: Tensor) -> Tensor:
    tensor = tensor.detach().resolve_conj().resolve_neg()
    if tensor.is_quantized:
        return tensor.dequantize()
    return tensor.to_dense() if tensor.layout is not torch.strided else tensor


def _own(module: nn.Module) -> dict[str, Tensor]:
    own = {**dict(module.named_parameters(recurse=False)), **dict(module.named_buffers(recurse=False))}
    lazy = (nn.UninitializedParameter, nn.UninitializedBuffer)
    return {name: tensor for name, tensor in own.items() if not isinstance(tensor, lazy) and not tensor.is_meta}


def _settings(module: nn.Module) -> str:
    try:
        return str(module.extra_repr())
    except Exception:  # the user's own method, of which only its text is wanted
        return ""


def _mode(module: nn.Module) -> str:
    return "train" if module.training else "eval"
