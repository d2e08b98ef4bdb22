"""`record(model)`: a recording whose crash is explained with fixes that were tried."""

from __future__ import annotations

from torch import nn

from fwdtrace.recorder.recorded import Options
from fwdtrace.recorder.recording import Recording
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

    Results, gradients, buffers and random numbers are as without the recording. TypeError if `model` is no `nn.Module`.

    - `ops`: also the functional ops between the calls, but for those inside leaf modules and torch's own modules; and
      where each tensor came from.
    - `check_finite`: where NaN and infinities first come up.
    - `stats`: mean, std, min, max and zeros of every output.
    - `costs`: the floating-point operations of every call.
    - `gradients`: what is in the `grad` of every parameter at the end of the block, and when and how long the backward
      of every call ran; backward has to run inside the block.
    - `spec`, `seed`: noted in the trace.

    If the block raises, what may help is tried on a copy of the model, for about a second at most.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"fwdtrace.record takes an nn.Module, not {type(model).__name__}")
    options = Options(ops, check_finite, stats, costs, gradients)
    return Recording(model, options, spec, seed, explain=with_fixes_for)
