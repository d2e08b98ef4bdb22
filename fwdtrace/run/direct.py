"""`model(x)` against `model.forward(x)` for the model of a spec -> DirectComparison."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace

from torch import nn

from fwdtrace.compare.direct.comparison import DirectComparison
from fwdtrace.compare.direct.experiment import Setting, run_experiments
from fwdtrace.compare.direct.inventory import inventory_of
from fwdtrace.errors import FwdtraceError
from fwdtrace.models.inputs import build_inputs
from fwdtrace.models.load import load_model
from fwdtrace.models.randomness import seed_all
from fwdtrace.run.guess import other_inputs, ran_with


def compare_direct_forward(
    spec: str,
    at: Sequence[str] = ("",),
    *,
    each: bool = False,
    inputs: Sequence[str] = (),
    seed: int = 0,
    trust: bool = False,
    tell: Callable[[str], None] = lambda entry: None,
) -> DirectComparison:
    """Compare a normal call of the model with a direct call of `forward` on each of the submodules in `at`.

    `at` holds qualified names, `""` for the model itself; with `each`, every submodule is taken. `inputs` are texts as
    `--input` takes them. With `trust`, a `.pt2` file may run code as it is opened. `tell` is called with the name of
    each part, such as `c1.forward(x)`, before it runs. Where none are given and the model raises, others are tried.
    """
    try:
        return _compared(spec, at, each, inputs, seed, trust, tell)
    except FwdtraceError as error:
        if inputs or error.__cause__ is None or not (tried := other_inputs(spec, seed, trust=trust)):
            raise
    try:
        comparison = _compared(spec, at, each, tried, seed, trust, tell)
    except FwdtraceError as error:
        raise FwdtraceError(f"{error}; {ran_with(tried, raised=True)}") from error.__cause__
    return replace(comparison, notes=(ran_with(tried), *comparison.notes))


def _compared(
    spec: str,
    at: Sequence[str],
    each: bool,
    inputs: Sequence[str],
    seed: int,
    trust: bool,
    tell: Callable[[str], None],
) -> DirectComparison:

    def build() -> nn.Module:
        seed_all(seed)
        return load_model(spec, trust=trust).module

    seed_all(seed)
    try:
        loaded = load_model(spec, trust=trust)
        # Ranks that share the work on one batch need the same one, all others need their own to differ in gradients.
        is_shared = any(item.mechanism == "tensor parallel" for item in inventory_of(loaded.module))
        rank = 0 if is_shared else int(os.environ.get("RANK", "0"))
        arguments = build_inputs(tuple(inputs) or loaded.inputs, loaded.module, seed + rank)
        setting = Setting(build, arguments.args, arguments.kwargs, spec, seed)
        return run_experiments(setting, at, each=each, tell=tell)
    except KeyboardInterrupt:
        raise FwdtraceError(f"interrupted while {spec!r} was compared") from None
