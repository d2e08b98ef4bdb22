"""`fwdtrace run`: load a model, feed it, print its tree and findings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fwdtrace.cli.fail_on import FailOn, annotate, codes_of, fail_if_found
from fwdtrace.cli.options import Depth, Input, Json, MaxBytes, NoFold, Output, Seed, Sort, Source, Spec, Top
from fwdtrace.cli.progress import progress
from fwdtrace.cli.results import Shown, check_files, give, stdout_kept_clean
from fwdtrace.errors import FwdtraceError
from fwdtrace.run.cold_start import import_torch

if TYPE_CHECKING:
    import torch

    from fwdtrace.models.inputs import Inputs
    from fwdtrace.models.load import LoadedModel
    from fwdtrace.trace import Trace


@dataclass(frozen=True)
class Asked:
    """What to record beside the calls, and how to run the model."""

    seed: int
    train: bool
    ops: bool
    check_finite: bool
    stats: bool
    costs: bool
    backward: bool
    loss: str | None
    fused: bool
    device: str | None
    weights: Path | None
    save_values: Path | None
    max_bytes: int


def run(
    spec: Spec = "lenet",
    input: Input = None,
    seed: Seed = 0,
    device: Annotated[
        str | None, typer.Option(metavar="DEVICE", help="cpu, cuda, cuda:1, or meta, where weights need no memory.")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Weights for the model: .safetensors, .pt, .pth or .bin.")
    ] = None,
    train: Annotated[bool, typer.Option("--train", help="Run in training mode instead of eval mode.")] = False,
    ops: Annotated[bool, typer.Option("--ops/--no-ops", help="Show the functional ops between the calls.")] = True,
    check_finite: Annotated[
        bool, typer.Option("--check-finite", help="Find where NaN and infinities come up (FT005).")
    ] = False,
    stats: Annotated[bool, typer.Option("--stats", help="Keep mean, std, min, max and zeros of every output.")] = False,
    backward: Annotated[
        bool, typer.Option("--backward", help="Run backward too, and tell which parameters get no gradient (FT008).")
    ] = False,
    loss: Annotated[
        str | None, typer.Option(metavar="FILE.py:NAME", help="With --backward: the loss of the output; else its sum.")
    ] = None,
    save_values: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Save the numbers of every call, .safetensors, for compare.")
    ] = None,
    max_bytes: MaxBytes = 2**30,
    costs: Annotated[bool, typer.Option("--costs", help="Count the floating-point operations of every call.")] = False,
    no_fused: Annotated[
        bool, typer.Option("--no-fused", help="Run transformer layers step by step, not by their fused path.")
    ] = False,
    source: Source = False,
    sort: Sort = None,
    top: Top = 20,
    depth: Depth = None,
    no_fold: NoFold = False,
    json: Json = False,
    output: Output = None,
    fail_on: FailOn = "",
) -> None:
    """Run a model once and show every call, in order, with its shapes.

    Example: fwdtrace run "model.py:Net(depth=3)" --input 1x3x224x224
    """
    files = output or []
    check_files(files)
    if save_values is not None:
        check_files([save_values], (".safetensors",), option="--save-values")
        if find_spec("safetensors") is None:
            raise FwdtraceError(f"--save-values {save_values}: needs safetensors; run `pip install safetensors`")
    codes = codes_of(fail_on)
    shown = Shown(depth, not no_fold, source, sort, top)
    asked = Asked(
        seed=seed,
        train=train,
        ops=ops,
        check_finite=check_finite,
        stats=stats,
        costs=costs or sort == "flops",
        backward=backward or bool(loss),
        loss=loss,
        fused=not no_fused,
        device=device,
        weights=weights,
        save_values=save_values,
        max_bytes=max_bytes,
    )
    with stdout_kept_clean():
        trace, error = _record(spec, input, asked)
    give(trace, shown, files, as_json=json)
    annotate(trace.findings, codes)
    if isinstance(error, KeyboardInterrupt):
        raise FwdtraceError(f"interrupted; {spec!r} had run as far as the trace shows")
    if isinstance(error, FwdtraceError):
        raise error
    if error is not None:
        raise FwdtraceError(f"{spec!r} raised while it ran; the traceback above is its own") from error
    fail_if_found(trace.findings, codes)


def _record(spec: str, input: list[str] | None, asked: Asked) -> tuple[Trace, BaseException | None]:
    """The trace of one run, and what the model raised, if it did."""
    import_torch()
    from fwdtrace.models.devices import usable
    from fwdtrace.models.inputs import build_inputs
    from fwdtrace.models.weights import load_weights
    from fwdtrace.recorder.session import calls_so_far

    device = usable(asked.device) if asked.device else None
    on_meta = device is not None and device.type == "meta"
    with progress(f"building {spec}"):
        loaded = _loaded(spec, device, asked.seed)
    if asked.save_values and on_meta:
        raise FwdtraceError(f"--save-values {asked.save_values}: a model on meta has no values; leave --device off")
    if asked.weights and on_meta:
        raise FwdtraceError(f"--weights {asked.weights}: a model on meta has no place for values; leave --device off")
    if asked.weights:
        load_weights(loaded.module, asked.weights)
    inputs = build_inputs(input or loaded.inputs, loaded.module, asked.seed, device)
    loaded.module.train(asked.train)
    with progress(f"running {spec}", calls=calls_so_far):
        return _observe_without_values(loaded, inputs, asked) if on_meta else _observe(loaded, inputs, asked)


def _loaded(spec: str, device: torch.device | None, seed: int) -> LoadedModel:
    from fwdtrace.models.devices import on_device
    from fwdtrace.models.load import load_model
    from fwdtrace.models.randomness import seed_all

    seed_all(seed)
    try:
        if device is None:
            return load_model(spec)
        loaded = on_device(device, lambda: load_model(spec))
        loaded.module.to(device)
        return loaded
    except KeyboardInterrupt:
        raise FwdtraceError(f"interrupted while {spec!r} was being built") from None


def _observe_without_values(loaded: LoadedModel, inputs: Inputs, asked: Asked) -> tuple[Trace, BaseException | None]:
    """Run on meta tensors and, if that fails, on fake ones; then say which line needs values."""
    from fwdtrace.models.inputs import Inputs
    from fwdtrace.models.meta import META, fake, needs_values, where_values_are_needed

    with META:
        trace, error = _observe(loaded, inputs, asked)
    if error is None or isinstance(error, KeyboardInterrupt):
        return trace, error
    with fake(loaded.module) as faked:
        again, other = _observe(loaded, Inputs(faked(inputs.args), faked(inputs.kwargs)), asked)
    if needs_values(other) or other is None:
        trace, error = replace(again, run=replace(again.run, device="meta")), other
    if error is None or not needs_values(error):
        return trace, error
    where = where_values_are_needed(error)
    return trace, FwdtraceError(f"{loaded.spec!r} needs real values at {where}; leave --device meta off")


def _observe(loaded: LoadedModel, inputs: Inputs, asked: Asked) -> tuple[Trace, BaseException | None]:
    import torch

    from fwdtrace.recorder import Options, Recording
    from fwdtrace.recorder.measures.keeper import Keeper

    loss = _loss(asked.loss)
    keeper = Keeper(asked.max_bytes, fingerprints=True) if asked.save_values else None
    options = Options(
        asked.ops, asked.check_finite, asked.stats, costs=asked.costs, gradients=asked.backward, keeper=keeper
    )
    recording = Recording(loaded.module, options, loaded.spec, asked.seed)
    if not asked.fused:
        torch.backends.mha.set_fastpath_enabled(False)
    error: BaseException | None = None
    with torch.set_grad_enabled(asked.backward), recording:
        try:
            result = loaded.module(*inputs.args, **inputs.kwargs)
            if asked.backward:
                from fwdtrace.run.backward import run_backward

                run_backward(loaded.module, result, loss)
        except BaseException as raised:  # the model is the user's; and Ctrl-C, too, leaves a trace to show
            error = raised
    trace = recording.trace
    if keeper is None or asked.save_values is None:
        return trace, error
    from fwdtrace.compare.saved_numbers import save_values

    try:
        save_values(keeper.by_id, asked.save_values)
    except FwdtraceError as unwritten:  # the trace is there, and shown; what the model raised matters more
        return trace, error or unwritten
    return replace(trace, run=replace(trace.run, values=asked.save_values.name)), error


def _loss(spec: str | None) -> Callable[..., Any] | None:
    from fwdtrace.models.load import load_function

    return load_function(spec) if spec else None
