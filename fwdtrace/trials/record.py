"""`record(model)`: a recording whose crash is explained with fixes that were tried."""

from __future__ import annotations

from torch import nn

from fwdtrace.recorder import Options, Recording
from fwdtrace.trials.failed import with_fixes_for


def record(
    model: nn.Module,
    *,
    ops: bool = False,
    check_finite: bool = False,
    stats: bool = False,
    costs: bool = False,
    gradients: bool = False,
    spec: str | None = None,
    seed: int | None = None,
) -> Recording:
    """Observe every call of the model and its submodules inside a `with` block.

    With `ops`, also the functional ops between them, those inside leaf modules and torch's own modules left out.
    With `check_finite`, where NaN and infinities come up. With `stats`, the statistics of every output.
    With `costs`, the floating-point operations of every call. With `gradients`, what is in the `grad` of every
    parameter at the end of the block, and when and how long the backward of every call ran.
    `spec` and `seed` are noted in the trace. Results, gradients, buffers and the RNG are as without the recording.
    If the block raises, what may help is tried on a copy of the model, for a second at most.
    TypeError if `model` is no `nn.Module`.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"fwdtrace.record takes an nn.Module, not {type(model).__name__}")
    options = Options(ops, check_finite, stats, costs, gradients)
    return Recording(model, options, spec, seed, explain=with_fixes_for)
