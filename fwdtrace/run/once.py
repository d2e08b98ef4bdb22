"""One model, run once: build it from its spec, feed it, record the run, and give the trace."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fwdtrace.errors import FwdtraceError, ModelError
from fwdtrace.models.capsule import Capsule, read_capsule
from fwdtrace.models.devices import on_device, usable
from fwdtrace.models.dtypes import convert, converted, dtype_named
from fwdtrace.models.guess import required_arguments
from fwdtrace.models.inputs import Inputs, build_inputs
from fwdtrace.models.load import DEFAULT_INPUTS, LoadedModel, load_function, load_model
from fwdtrace.models.meta import META, fake, needs_values, where_values_are_needed
from fwdtrace.models.randomness import seed_all
from fwdtrace.models.weights import load_weights
from fwdtrace.recorder.measures.keeper import Keeper
from fwdtrace.recorder.recorded import Options
from fwdtrace.recorder.recording import Recording
from fwdtrace.recorder.same_dtypes import SameDtypes
from fwdtrace.recorder.session import calls_so_far as calls_so_far
from fwdtrace.run.backward import Loss, as_module, run_backward, run_backward_from
from fwdtrace.run.guess import better_guess, nobody_chose
from fwdtrace.run.warm import Start, with_warm_times
from fwdtrace.trace import Trace
from fwdtrace.trace.text import site_text
from fwdtrace.trials.search import with_tried_fixes


@dataclass(frozen=True)
class Measures:
    """What to measure beside the calls and their shapes.

    `loss` is the spec of a function, for `backward`; without one, backward starts at the sum of the output.
    `save_values` is the file for the numbers of every call, of which at most `max_bytes` are kept whole.
    `repeat` is how many more times it runs, for the times of warm runs.
    """

    ops: bool = True
    check_finite: bool = False
    stats: bool = False
    costs: bool = False
    backward: bool = False
    loss: str | None = None
    save_values: Path | None = None
    max_bytes: int = 2**30
    repeat: int = 0


@dataclass(frozen=True)
class RunPlan:
    """Which model to run, on what, and how.

    `inputs` are texts as `--input` takes them; if there are none, the model gets what it wants. `device` is a name such
    as `cuda:1` or `meta`, None for where the spec puts the model. `weights` is a file to load weights from. With
    `fused`, transformer layers may take their fused path. With `trust`, a `.pt2` file may run code as it is opened.
    `capsule` is a call that a program saved, which is made again, of the model that `spec` names. `dtype` names
    the type that the floating-point numbers of the model and of its arguments are to have, without autocast.
    """

    spec: str
    inputs: tuple[str, ...] = ()
    seed: int = 0
    device: str | None = None
    weights: Path | None = None
    train: bool = False
    fused: bool = True
    trust: bool = False
    measures: Measures = Measures()
    capsule: Path | None = None
    dtype: str | None = None


@dataclass(frozen=True)
class ReadyModel:
    """A model in the mode and on the device that it will run in, its arguments, and the loss to run backward from.

    `guessed` are the `--input` texts of the arguments if nobody gave them and the model does not say what it takes.
    """

    module: nn.Module
    inputs: Inputs
    on_meta: bool
    loss: Loss | None
    guessed: tuple[str, ...] = ()
    capsule: Capsule | None = None


@dataclass(frozen=True)
class RunResult:
    """The trace of a run and, if the run did not come to its end, why: a ModelError if the model raised.

    `tried` are the `--input` texts that it ran with, where nobody gave any and the first guess did not fit. `not_again`
    says that what was not finite in a saved call is finite in this run; "" otherwise.
    """

    trace: Trace
    error: FwdtraceError | None
    tried: tuple[str, ...] = ()
    not_again: str = ""


def prepare(plan: RunPlan) -> ReadyModel:
    """Build the model, its arguments and the loss; FwdtraceError if one of them cannot be made."""
    device = usable(plan.device) if plan.device else None
    dtype = dtype_named(plan.dtype) if plan.dtype else None
    on_meta = device is not None and device.type == "meta"
    if on_meta and plan.measures.save_values:
        option = f"--save-values {plan.measures.save_values}"
        raise FwdtraceError(f"{option}: a model on meta has no values; leave --device off")
    if on_meta and plan.measures.repeat:
        raise FwdtraceError(f"--repeat {plan.measures.repeat}: a model on meta computes nothing; leave --device off")
    if on_meta and plan.weights:
        raise FwdtraceError(f"--weights {plan.weights}: a model on meta has no place for values; leave --device off")
    if plan.capsule is not None:
        return _in_dtype(_from_capsule(plan, read_capsule(plan.capsule), device), dtype)
    try:
        loaded = _loaded(plan, device)
        if plan.weights:
            load_weights(loaded.module, plan.weights)
        texts = plan.inputs or loaded.inputs
        guessed: tuple[str, ...] = ()
        if loaded.guessed and not plan.inputs:
            texts = guessed = _takes_as_many(loaded, plan.seed)
        inputs = build_inputs(texts, loaded.module, plan.seed, device)
    except KeyboardInterrupt:
        raise FwdtraceError(f"interrupted while {plan.spec!r} was being built") from None
    loaded.module.train(plan.train)
    loss = load_function(plan.measures.loss) if plan.measures.loss else None
    return _in_dtype(ReadyModel(loaded.module, inputs, on_meta, loss, guessed), dtype)


def _in_dtype(model: ReadyModel, dtype: torch.dtype | None) -> ReadyModel:
    """The same in another type, if there is one: in that alone, also where the program had autocast choose types."""
    if dtype is None:
        return model
    convert(model.module, dtype)
    inputs = Inputs(converted(model.inputs.args, dtype), converted(model.inputs.kwargs, dtype))
    return replace(model, inputs=inputs, capsule=model.capsule and replace(model.capsule, autocast=()))


def _from_capsule(plan: RunPlan, capsule: Capsule, device: torch.device | None) -> ReadyModel:
    """The model of a saved call, as it was then, and the arguments of the call unless there are others."""
    if plan.spec == str(plan.capsule) and capsule.spec is None:
        raise FwdtraceError(
            f"{capsule.file}: how to build a {capsule.class_name} is not known; name what builds it: "
            f"fwdtrace run SPEC --capsule {capsule.file}"
        )
    plan = replace(plan, spec=capsule.spec or "" if plan.spec == str(plan.capsule) else plan.spec)
    loaded = _loaded(plan, device)
    on_meta = device is not None and device.type == "meta"
    capsule.load_into(loaded.module)
    inputs = build_inputs(plan.inputs or capsule.inputs, loaded.module, plan.seed, device)
    loss = load_function(plan.measures.loss) if plan.measures.loss else None
    return ReadyModel(loaded.module, inputs, on_meta, loss, capsule=capsule)


def run_once(plan: RunPlan, model: ReadyModel) -> RunResult:
    """Run and record the model that `prepare` has built for this plan; also if the model raises, there is a trace."""
    wrong = _wrong_in(plan, model)
    if wrong is not None:
        backward = plan.measures.backward or wrong == "gradients"
        plan = replace(plan, measures=replace(plan.measures, check_finite=True, backward=backward))
    trace, error = (_run_without_values if model.on_meta else _run)(plan, model)
    if isinstance(error, Exception) and not isinstance(error, FwdtraceError):
        try:
            if (again := _with_better_guess(plan, model, trace)) is not None:
                return run_once(plan, again)
            guessed = bool(model.guessed)
            trace = with_tried_fixes(trace, model.module, model.inputs, guessed=guessed, on_meta=model.on_meta)
        except KeyboardInterrupt:  # whoever has seen enough gets what is there
            pass
        trace = nobody_chose(trace, model.guessed) if model.guessed else trace
    if error is None or isinstance(error, FwdtraceError):
        is_fine = error is None and all(finding.code != "FT005" for finding in trace.findings)
        not_again = _not_again(plan, wrong) if wrong is not None and is_fine else ""
        return RunResult(trace, error, () if model.guessed == DEFAULT_INPUTS else model.guessed, not_again)
    if isinstance(error, KeyboardInterrupt):
        return RunResult(trace, FwdtraceError(f"interrupted; {plan.spec!r} had run as far as the trace shows"))
    raised = ModelError(plan.spec, _why_it_raised(trace))
    raised.__cause__ = error
    return RunResult(trace, raised)


def _wrong_in(plan: RunPlan, model: ReadyModel) -> str | None:
    """What was not finite in a saved call, if this run can show it: it has numbers, and all that the call was given."""
    if model.capsule is None or plan.inputs or model.on_meta:
        return None
    return None if model.capsule.wrong == "gradients" and model.loss is not None else model.capsule.wrong


def _not_again(plan: RunPlan, wrong: str) -> str:
    """That what was wrong in a saved call did not come up again."""
    where = [f"in {plan.dtype}"] * bool(plan.dtype) + [f"on {plan.device}"] * bool(plan.device)
    what = "the saved call gave" if wrong == "output" else "the backward of the saved call made"
    return f"{what} NaN or infinite values in its program, and does not {' '.join(where) or 'here'}"


def _with_better_guess(plan: RunPlan, model: ReadyModel, trace: Trace) -> ReadyModel | None:
    """The model, built once more, with an input that it takes; None if somebody chose the input, or none is found."""
    if model.guessed != DEFAULT_INPUTS or model.on_meta:
        return None
    tried = better_guess(model.module, trace, plan.seed)
    if not tried or tried == model.guessed:
        return None
    return replace(prepare(replace(plan, inputs=tried)), guessed=tried)


def _takes_as_many(loaded: LoadedModel, seed: int) -> tuple[str, ...]:
    """The guess for a model that takes one argument; for one that takes several, what its first layers take."""
    assert isinstance(loaded.inputs, tuple)
    if required_arguments(loaded.module) == len(loaded.inputs):
        return loaded.inputs
    return better_guess(loaded.module, None, seed) or loaded.inputs


def _why_it_raised(trace: Trace) -> str:
    """What the last finding about an error says, behind its file and line; nothing if there is none."""
    finding = next((finding for finding in reversed(trace.findings) if finding.code == "FT006"), None)
    if finding is None:
        return ""
    return f"{site_text(finding.site)}: {finding.message}" if finding.site else finding.message


def _loaded(plan: RunPlan, device: torch.device | None) -> LoadedModel:
    seed_all(plan.seed)
    if device is None:
        return load_model(plan.spec, trust=plan.trust)
    loaded = on_device(device, lambda: load_model(plan.spec, trust=plan.trust))
    loaded.module.to(device)
    return loaded


def _run_without_values(plan: RunPlan, model: ReadyModel) -> tuple[Trace, BaseException | None]:
    """Run on meta tensors and, if that fails, on fake ones; then say which line needs values."""
    with META, SameDtypes():
        trace, error = _run(plan, model)
    if error is None or isinstance(error, KeyboardInterrupt):
        return trace, error
    with fake(model.module) as faked, SameDtypes():
        inputs = Inputs(faked(model.inputs.args), faked(model.inputs.kwargs))
        second_trace, second_error = _run(plan, replace(model, inputs=inputs))
    if second_error is None or needs_values(error) or needs_values(second_error):
        trace, error = replace(second_trace, run=replace(second_trace.run, device="meta")), second_error
    if error is None or not needs_values(error):
        return trace, error
    where = where_values_are_needed(error)
    return trace, FwdtraceError(f"{plan.spec!r} needs real values at {where}; leave --device meta off")


def _run(plan: RunPlan, model: ReadyModel) -> tuple[Trace, BaseException | None]:
    """The trace of one run, and what was raised in it."""
    measures = plan.measures
    keeper = Keeper(measures.max_bytes, fingerprints=True) if measures.save_values else None
    options = Options(
        measures.ops,
        measures.check_finite,
        measures.stats,
        costs=measures.costs,
        gradients=measures.backward,
        keeper=keeper,
        peak_memory=measures.costs,
    )
    recording = Recording(model.module, options, plan.spec, plan.seed)
    loss = as_module(model.loss) if model.loss is not None else None
    error: BaseException | None = None
    call = functools.partial(_call, model.capsule.entry if model.capsule is not None else "__call__")
    start = Start.of(model.module, model.inputs) if measures.repeat else None
    try:
        with _fused_path(plan.fused), _as_it_ran(model, measures.backward), recording:
            output = call(model.module, model.inputs)
            if measures.backward:
                if loss is not None:
                    recording.include(loss)
                if loss is None and model.capsule is not None and model.capsule.gradients is not None:
                    run_backward_from(output, model.capsule.gradients)
                else:
                    run_backward(model.module, output, loss)
    except BaseException as raised:  # the model is the user's; and Ctrl-C, too, leaves a trace to show
        error = raised
    trace = recording.trace
    if start is not None and error is None:
        try:
            with _fused_path(plan.fused), _as_it_ran(model, measures.backward):
                trace = with_warm_times(trace, start, measures.repeat, call)
        except BaseException as raised:
            error = raised
    if keeper is None or measures.save_values is None:
        return trace, error
    return _with_values(trace, error, keeper, measures.save_values)


def _call(entry: str, module: nn.Module, inputs: Inputs) -> Any:
    run = module if entry == "__call__" else module.forward
    return run(*inputs.args, **inputs.kwargs)


def _with_values(
    trace: Trace, error: BaseException | None, keeper: Keeper, file: Path
) -> tuple[Trace, BaseException | None]:
    """The trace with the name of the file that its numbers were saved in."""
    from fwdtrace.compare.programs.saved_numbers import save_values

    try:
        digest = save_values(keeper.by_id, file)
    except FwdtraceError as unwritten:  # the trace is there, and shown; what the model raised matters more
        return trace, error or unwritten
    return replace(trace, run=replace(trace.run, values=file.name, values_digest=digest)), error


@contextmanager
def _as_it_ran(model: ReadyModel, backward: bool) -> Iterator[None]:
    """The modes and random states of a saved call; of any other, gradients only if backward is to follow."""
    capsule = model.capsule
    again = capsule.as_then() if capsule is not None else contextlib.nullcontext()
    with again, torch.set_grad_enabled(backward or (capsule is not None and capsule.grad)):
        yield


@contextmanager
def _fused_path(allowed: bool) -> Iterator[None]:
    """Let transformer layers take their fused path or not, as long as the block runs."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(before and allowed)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
