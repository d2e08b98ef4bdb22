"""`fwdtrace run`: load a model, feed it, print its tree and findings."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fwdtrace.cli.results import AskedToFail, check_files, result_console, save, stdout_kept_clean
from fwdtrace.errors import FwdtraceError
from fwdtrace.rules import RULES

if TYPE_CHECKING:
    from fwdtrace.inputs import Inputs
    from fwdtrace.load import LoadedModel
    from fwdtrace.trace import Trace


def run(
    spec: Annotated[
        str, typer.Argument(metavar="SPEC", help="A built-in name, file.py:Name or package.module:Name.")
    ] = "lenet",
    input: Annotated[
        list[str] | None,
        typer.Option(
            "-i",
            "--input",
            metavar="INPUT",
            help="1x3x32x32, NAME=SHAPE, SHAPE:int64:0..100, or a .pt, .npy or .safetensors file; repeatable.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", min=0, max=2**32 - 1, help="The seed of weights and inputs.")] = 0,
    train: Annotated[bool, typer.Option("--train", help="Run in training mode instead of eval mode.")] = False,
    depth: Annotated[int | None, typer.Option(metavar="N", min=0, help="Show calls down to depth N only.")] = None,
    no_fold: Annotated[bool, typer.Option("--no-fold", help="Show every one of a row of equal blocks.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the trace as JSON, and nothing else.")] = False,
    output: Annotated[
        list[Path] | None,
        typer.Option("-o", "--output", metavar="FILE", help="Save the trace to a .json or .txt file; repeatable."),
    ] = None,
    fail_on: Annotated[
        str, typer.Option(metavar="CODES", help="Exit with 1 on these findings: FT001,FT010 or any.")
    ] = "",
) -> None:
    """Run a model once and show every call, in order, with its shapes.

    Example: fwdtrace run "model.py:Net(depth=3)" --input 1x3x224x224
    """
    files = output or []
    check_files(files)
    codes = _codes(fail_on)
    with stdout_kept_clean():
        trace, error = _record(spec, input, seed, train)
    console = result_console()
    for file in files:
        save(trace, file, width=console.width, depth=depth, fold=not no_fold)
    if json:
        from fwdtrace.trace_file import write_trace

        write_trace(trace, sys.stdout)
    else:
        from fwdtrace.render.tree import print_tree

        print_tree(trace, console, depth=depth, fold=not no_fold)
    sys.stdout.flush()
    if isinstance(error, KeyboardInterrupt):
        raise FwdtraceError(f"interrupted; {spec!r} had run as far as the trace shows")
    if error is not None:
        raise FwdtraceError(f"{spec!r} raised while it ran; the traceback above is its own") from error
    found = sorted({finding.code for finding in trace.findings} & codes)
    if found:
        raise AskedToFail(f"failing as --fail-on asks: {', '.join(found)}")


def _codes(text: str) -> set[str]:
    wanted = {code.strip() for code in text.split(",") if code.strip()}
    known = {rule.code for rule in RULES}
    if wanted == {"any"}:
        return known
    for code in sorted(wanted - known):
        names = ", ".join(f"{rule.code} ({rule.name})" for rule in RULES)
        raise FwdtraceError(f"--fail-on {text}: there is no finding {code!r}; there are {names}, or any")
    return wanted


def _record(spec: str, input: list[str] | None, seed: int, train: bool) -> tuple[Trace, BaseException | None]:
    """The trace of one run, and what the model raised, if it did."""
    from fwdtrace.inputs import build_inputs
    from fwdtrace.load import load_model
    from fwdtrace.randomness import seed_all

    seed_all(seed)
    try:
        loaded = load_model(spec)
    except KeyboardInterrupt:
        raise FwdtraceError(f"interrupted while {spec!r} was being built") from None
    inputs = build_inputs(input or loaded.inputs, loaded.module, seed)
    loaded.module.train(train)
    return _observe(loaded, inputs, seed)


def _observe(loaded: LoadedModel, inputs: Inputs, seed: int) -> tuple[Trace, BaseException | None]:
    import torch

    from fwdtrace.recorder import record

    error: BaseException | None = None
    with torch.no_grad(), record(loaded.module, spec=loaded.spec, seed=seed) as recording:
        try:
            loaded.module(*inputs.args, **inputs.kwargs)
        except BaseException as raised:  # the model is the user's; and Ctrl-C, too, leaves a trace to show
            error = raised
    return recording.trace, error
