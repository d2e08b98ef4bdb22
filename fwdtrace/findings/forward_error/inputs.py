"""Other inputs of the model with which a size that does not fit may fit: longer, shorter, or rounded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from math import prod

from fwdtrace.findings.forward_error.changes import Given, Proposal, Step
from fwdtrace.findings.forward_error.failure import GIVE, Failure, Misfit
from fwdtrace.findings.forward_error.feature_maps import ROUNDING
from fwdtrace.findings.forward_error.origins import origin_of_size
from fwdtrace.trace import Call, Shape, TensorMeta
from fwdtrace.trace.values import tensors_in

MULTIPLES = (2, 4, 8, 16, 32, 64)
NEARBY = 0.1
"""What convolutions without padding cut off is looked for within this part of a side."""
FIRST = 12
"""So many other sizes of an argument are tried before a layer is built otherwise, and the others after it."""
MOST_FACTOR = 16
"""No input is proposed that is more than so many times longer or shorter: another one was meant then."""


def other_inputs(failure: Failure, misfits: Iterable[Misfit]) -> Iterator[Proposal]:
    """The arguments of the model, with sizes that may make the misfits fit: the nearest come first."""
    *_, root = (failure.call, *failure.trace.callers(failure.call))
    wrong = tuple(replace(each, chosen=_is_chosen(failure, each)) for each in misfits)
    seen: set[tuple[str, Shape]] = set()
    for argument in _arguments(root):
        if _lacks_batch(failure, argument):
            yield Proposal((Given(argument.name, steps=(Step("unsqueeze", (0,)),)),), GIVE - 0.4)
        candidates = sorted(_shapes(argument, wrong), key=lambda candidate: candidate[1])
        for number, (shape, cost) in enumerate(candidates):
            far = max((max(a, b) / max(1, min(a, b)) for a, b in zip(shape, argument.shape, strict=True)), default=1)
            much = prod(shape) > MOST_FACTOR * max(1, prod(argument.shape))
            if shape == argument.shape or min(shape, default=1) < 1 or far > MOST_FACTOR or much:
                continue
            if (argument.name, shape) not in seen:
                seen.add((argument.name, shape))
                later = 0.0 if number < FIRST else 1.0
                yield Proposal((Given(argument.name, shape),), GIVE + cost + min(far, 4) / 20 + later)


def _is_chosen(failure: Failure, misfit: Misfit) -> bool:
    """Whether a layer chose the size, or a parameter has it, so that no other length or image changes it."""
    origin = origin_of_size(failure.trace, misfit.tensor, misfit.dimension)
    return origin.chosen or (origin.held is not None and origin.held.parameter is not None)


def _lacks_batch(failure: Failure, argument: TensorMeta) -> bool:
    """Whether a convolution was given the argument itself and took it for a single example."""
    for call in failure.trace.calls:
        if call.class_name in ("Conv1d", "Conv2d", "Conv3d") and len(argument.shape) == int(call.class_name[-2]) + 1:
            sources = (leaf.source for leaf in tensors_in(call.inputs))
            if any(source is not None and source.argument == argument.name for source in sources):
                return True
    return False


def _arguments(root: Call) -> tuple[TensorMeta, ...]:
    return tuple(leaf for leaf in tensors_in(root.inputs) if leaf.shape and leaf.layout == "strided")


def _shapes(argument: TensorMeta, misfits: tuple[Misfit, ...]) -> Iterator[tuple[Shape, float]]:
    """Shapes for an argument, and how far each is from being what a misfit says itself."""
    shape = argument.shape
    own = [misfit for misfit in misfits if shape == misfit.tensor.shape and misfit.dimension != 0]
    for together in ([own] if len({misfit.dimension for misfit in own}) == len(own) else []) + [[one] for one in own]:
        places = tuple(misfit.dimension for misfit in together)  # it may be the operand itself
        yield _with_all(shape, places, [misfit.wanted for misfit in together]), 0.0 if together == own else 0.02
    for got, wanted in dict.fromkeys(_pairs(misfits)):
        for at, size in enumerate(shape):
            if at == 0 and (got, wanted) != (1, 2):  # another number of examples fits nothing but a norm of one value
                continue
            if size == got:
                yield _with(shape, at, wanted), 0.1
            elif 0 < abs(size - got) <= 2 and wanted + size - got > 0:
                yield _with(shape, at, wanted + size - got), 0.2
    scalable = tuple(misfit for misfit in misfits if not misfit.chosen)
    if len(shape) >= 3 and "float" in argument.dtype and scalable:
        yield from _scaled(shape, scalable)


def _pairs(misfits: tuple[Misfit, ...]) -> Iterator[tuple[int, int]]:
    """What there is and what is wanted."""
    for misfit in misfits:
        yield misfit.got, misfit.wanted
        if misfit.either:
            yield misfit.wanted, misfit.got


def _scaled(shape: Shape, misfits: tuple[Misfit, ...]) -> Iterator[tuple[Shape, float]]:
    """Images and sequences of another length: what differs by rounding wants a multiple, all else another scale."""
    spatial = tuple(range(2, len(shape))) if len(shape) > 3 else (len(shape) - 1,)
    rounded = all(abs(misfit.got - misfit.wanted) <= ROUNDING for misfit in misfits)
    for multiple in MULTIPLES:
        for extra in (0, 1):
            sized = [(-(-shape[at] // multiple) + extra) * multiple for at in spatial]
            yield _with_all(shape, spatial, sized), (0.2 if rounded else 0.4) + multiple / 500 + extra / 10
    for misfit in misfits:
        same_place = misfit.dimension in spatial and len(misfit.tensor.shape) == len(shape)
        nearby = max(1, round(min(shape[at] for at in spatial) * NEARBY))
        for off in sorted(range(-min(nearby, 4), min(nearby, 4) + 1), key=lambda off: (abs(off), -off)):
            cost = 0.3 + abs(off) / 50
            if same_place:
                at = misfit.dimension
                yield _with(shape, at, round(shape[at] * misfit.wanted / max(1, misfit.got)) + off), cost
            for ratio in _ratios(misfit, len(spatial)):
                sized = [max(1, round(shape[at] * ratio)) + off for at in spatial]
                yield _with_all(shape, spatial, sized), cost + 0.05


def _ratios(misfit: Misfit, dimensions: int) -> list[float]:
    """How much longer each side would have to be: a size grows with the side or with the area, and some are added."""
    found: list[float] = []
    for added in (0, 1, 2):
        got, wanted = misfit.got - added, misfit.wanted - added
        if got > 0 and wanted > 0:
            found += [(wanted / got) ** (1 / power) for power in range(dimensions, 0, -1)]
    return found


def _with(shape: Shape, at: int, size: int) -> Shape:
    return (*shape[:at], size, *shape[at + 1 :])


def _with_all(shape: Shape, places: tuple[int, ...], sizes: list[int]) -> Shape:
    new = list(shape)
    for at, size in zip(places, sizes, strict=True):
        new[at] = size
    return tuple(new)
