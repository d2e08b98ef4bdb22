"""Two feature maps that differ in height or width: the convolutions behind them, built so that they would not."""

from __future__ import annotations

from fwdtrace.findings.forward_error.changes import Built, Proposal
from fwdtrace.findings.forward_error.failure import BUILD, GIVE, Failure
from fwdtrace.findings.forward_error.origins import origin_of_size
from fwdtrace.trace import Call, TensorMeta
from fwdtrace.trace.values import tensors_in

LARGEST_STRIDE = 4
ROUNDING = 2
"""Sizes that were halved and doubled again differ by so much at most."""


def padded(failure: Failure, small: TensorMeta, large: TensorMeta, places: list[int]) -> tuple[Proposal, ...]:
    """The convolution that made one of two feature maps smaller by its border, built with padding."""
    missing = {large.shape[at] - small.shape[at] for at in places}
    maker = origin_of_size(failure.trace, small, places[-1]).event
    if len(missing) != 1 or not isinstance(maker, Call) or "Conv" not in maker.class_name or not maker.path:
        return ()
    cut = missing.pop()
    if cut <= 0 or cut % 2 or len(small.shape) + places[0] < 2 or cut >= small.shape[places[-1]]:
        return ()
    return tuple(Proposal((Built(maker.path, "padding", cut // 2 + more),), BUILD + more / 10) for more in (0, 1))


def strided(failure: Failure, leaf: TensorMeta, other: TensorMeta, places: list[int]) -> tuple[Proposal, ...]:
    """The convolution behind one of them, with the stride that makes it as large as the other.

    What differs by more than rounding comes before another size of the image, of which both would be as many times
    larger.
    """
    maker = _convolution_behind(failure, leaf)
    given = next(iter(tensors_in(maker.inputs)), None) if maker is not None else None
    if maker is None or given is None or not maker.path or places[0] < 2 - len(given.shape):
        return ()
    wanted = {at: other.shape[at] for at in places}
    rounded = all(abs(leaf.shape[at] - size) <= ROUNDING for at, size in wanted.items())
    return tuple(
        Proposal((Built(maker.path, "stride", stride),), BUILD if rounded else GIVE - 0.1)
        for stride in range(1, LARGEST_STRIDE + 1)
        if all(-(-given.shape[at] // stride) == size for at, size in wanted.items())
    )


def _convolution_behind(failure: Failure, leaf: TensorMeta | None) -> Call | None:
    """The convolution whose result this is, after norms and the like, which leave the shape as it is."""
    while leaf is not None:
        event = failure.trace.flow.producer(leaf)
        if event is None:
            return None
        if isinstance(event, Call) and event.class_name in ("Conv1d", "Conv2d", "Conv3d"):
            return event
        before, leaf = leaf, next(iter(tensors_in(event.inputs)), None)
        if leaf is None or leaf.shape != before.shape:
            return None
    return None
