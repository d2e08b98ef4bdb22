"""`fwdtrace run`: load a model, feed it, print its tree and findings."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

from fwdtrace.cli.declared import option
from fwdtrace.cli.fail_on import annotate, codes_of, fail_if_found
from fwdtrace.cli.files import check_files, check_values_file
from fwdtrace.cli.options import (
    FailOn,
    FullTraceback,
    Inputs,
    Measured,
    Repeat,
    Result,
    Seed,
    Shown,
    Spec,
    Trust,
    with_what_is_shown,
)
from fwdtrace.cli.progress import progress
from fwdtrace.cli.results import give_trace
from fwdtrace.cli.terminal import stdout_kept_clean, to_stderr
from fwdtrace.cli.tracebacks import full_tracebacks
from fwdtrace.run.cold_start import import_torch


def run(
    measured: Measured,
    shown: Shown,
    result: Result,
    spec: Spec = "lenet",
    input: Inputs = None,
    seed: Seed = 0,
    device: Annotated[
        str | None, option(metavar="DEVICE", help="cpu, cuda, cuda:1, or meta, where weights need no memory.")
    ] = None,
    dtype: Annotated[
        str | None, option(metavar="DTYPE", help="Run in this type, such as float64; no autocast.")
    ] = None,
    weights: Annotated[
        Path | None, option(metavar="FILE", help="Weights for the model: .safetensors, .pt, .pth or .bin.")
    ] = None,
    train: Annotated[bool, option("--train", help="Run in training mode instead of eval mode.")] = False,
    loss: Annotated[
        str | None, option(metavar="FILE.py:NAME", help="With --backward: the loss of the output; else its sum.")
    ] = None,
    repeat: Repeat = 0,
    no_fused: Annotated[
        bool, option("--no-fused", help="Run transformer layers step by step, not by their fused path.")
    ] = False,
    trust: Trust = False,
    capsule: Annotated[
        Path | None,
        option(metavar="FILE", help="Make the call again that exec --save-step saved, of the model SPEC."),
    ] = None,
    fail_on: FailOn = "",
    full_traceback: FullTraceback = False,
) -> None:
    """Run a model once and show every call, in order, with its shapes.

    Example: fwdtrace run "model.py:Net(depth=3)" --input 1x3x224x224
    """
    check_files(result.files)
    check_values_file(measured.save_values)
    codes = codes_of(fail_on)
    measured = with_what_is_shown(measured, shown)
    if Path(spec).name == "capsule.json" and capsule is None:
        capsule = Path(spec)
    measured = replace(measured, backward=measured.backward or bool(loss))
    with full_tracebacks(full_traceback), stdout_kept_clean():
        import_torch()
        from fwdtrace.run.guess import ran_with
        from fwdtrace.run.once import Measures, RunPlan, calls_so_far, prepare, run_once

        measures = Measures(**asdict(measured), loss=loss, repeat=repeat)
        where = spec, tuple(input or ()), seed, device, weights, train, not no_fused, trust
        plan = RunPlan(*where, measures, capsule, dtype)
        with progress(f"building {spec}"):
            model = prepare(plan)
        with progress(f"running {spec}", calls=calls_so_far):
            ran = run_once(plan, model)
    give_trace(ran.trace, shown, result)
    annotate(ran.trace.findings, codes)
    if ran.not_again:
        to_stderr(f"fwdtrace: {ran.not_again}")
    if ran.tried:
        to_stderr(f"fwdtrace: {ran_with(ran.tried)}")
    if ran.error is not None:
        ran.error.full_traceback = full_traceback
        raise ran.error
    fail_if_found(ran.trace.findings, codes)
