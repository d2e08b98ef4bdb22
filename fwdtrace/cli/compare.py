"""`fwdtrace compare`: two models or saved traces, one model in two ways, or called and directly; say what differs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fwdtrace.cli.options import Input, Json, MaxBytes, Output, Seed, Spec, Trust
from fwdtrace.cli.progress import progress
from fwdtrace.cli.results import AskedToFail, check_files, result_console, stdout_kept_clean
from fwdtrace.errors import FwdtraceError
from fwdtrace.run.cold_start import import_torch
from fwdtrace.run.two import Asked, compared

if TYPE_CHECKING:
    from torch import nn

    from fwdtrace.compare.comparison import Comparison


def compare(
    spec: Spec = "lenet",
    other: Annotated[
        str | None, typer.Argument(metavar="[OTHER]", help="Another SPEC; or both are saved traces, FILE.json.")
    ] = None,
    direct_forward: Annotated[
        bool, typer.Option("--direct-forward", help="Compare model(x) with model.forward(x).")
    ] = False,
    at: Annotated[
        list[str] | None,
        typer.Option("--at", metavar="PATH", help="Run this submodule directly, not the model; repeatable."),
    ] = None,
    each: Annotated[bool, typer.Option("--each", help="Run every submodule directly, one at a time.")] = False,
    map: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="OLD=NEW", help="Names, 'encoder.{i}.attn=blocks.{i}.attention'; repeatable."),
    ] = None,
    same_init: Annotated[
        bool, typer.Option("--same-init", help="Copy the weights of the first into the second, by name or place.")
    ] = False,
    weights: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Weights for the first, copied into the second as well.")
    ] = None,
    train: Annotated[
        bool, typer.Option("--train", help="Run in training mode; with one SPEC, compare it with eval mode.")
    ] = False,
    dtype: Annotated[
        str | None, typer.Option(metavar="DTYPE", help="Run the second in this type, such as bfloat16.")
    ] = None,
    device: Annotated[str | None, typer.Option(metavar="DEVICE", help="Run the second there, such as cuda.")] = None,
    compile: Annotated[bool, typer.Option("--compile", help="Run the second compiled.")] = False,
    batch: Annotated[
        int,
        typer.Option(metavar="N", min=1, help="Give the second N times the examples, the same ones first."),
    ] = 1,
    max_bytes: MaxBytes = 2**30,
    trust: Trust = False,
    input: Input = None,
    seed: Seed = 0,
    json: Json = False,
    output: Output = None,
) -> None:
    """Show what differs between two models, two saved traces, or two ways to run one model. Exits with 1 if anything.

    Leads with the first call whose inputs agree and whose output does not.

    Example: fwdtrace compare original.py:Net port.py:Net --same-init

    Example: fwdtrace compare model.py:Net --direct-forward --at encoder
    """
    two = other is not None or train or dtype or device or compile or batch > 1
    if direct_forward and (two or map or same_init or weights):
        raise FwdtraceError("--direct-forward compares one SPEC with itself; leave the other options off")
    if not direct_forward and (at or each):
        raise FwdtraceError("--at and --each go with --direct-forward")
    if not direct_forward and not two:
        ways = "a second SPEC, --train, --dtype, --device, --compile, --batch, or --direct-forward for model.forward(x)"
        raise FwdtraceError(f"compare {spec}: say what with: {ways}")
    if at and each:
        raise FwdtraceError("--at and --each: give the one or the other; --each runs every submodule")
    files = output or []
    check_files(files, (".json", ".txt") if direct_forward else (".json", ".txt", ".html"))
    with stdout_kept_clean(), progress(f"comparing {' and '.join(each for each in (spec, other) if each)}"):
        error = None
        if direct_forward:
            comparison = _compared(spec, at or [""], each, input, seed, trust)
        else:
            maps = tuple(map or ())
            asked = Asked(
                *(spec, other, maps, tuple(input or ()), seed, train, dtype, device, compile, batch),
                *(same_init, weights, max_bytes, trust),
            )
            comparison, error = compared(asked)
    if os.environ.get("RANK", "0") == "0":  # under torchrun one process speaks for all
        _show(comparison, files, json)
    if error is not None:
        raise error
    if not comparison.equal:
        count = len(comparison.differences)
        raise AskedToFail(f"{count} difference{'s' if count > 1 else ''} found")


def _compared(spec: str, at: list[str], each: bool, input: list[str] | None, seed: int, trust: bool) -> Comparison:
    import_torch()
    from rich.console import Console

    from fwdtrace.direct import Setting, inventory_of, run_experiments
    from fwdtrace.models.inputs import build_inputs
    from fwdtrace.models.load import load_model
    from fwdtrace.models.randomness import seed_all

    def build() -> nn.Module:
        seed_all(seed)
        return load_model(spec, trust=trust).module

    seed_all(seed)
    try:
        loaded = load_model(spec, trust=trust)
        # Ranks that share the work on one batch need the same one, all others need their own to differ in gradients.
        shared = any(item.mechanism == "tensor parallel" for item in inventory_of(loaded.module))
        own = 0 if shared else int(os.environ.get("RANK", "0"))
        inputs = build_inputs(input or loaded.inputs, loaded.module, seed + own)
        setting = Setting(build, inputs.args, inputs.kwargs, spec, seed)
        with Console(stderr=True).status(spec) as status:
            return run_experiments(setting, at, each=each, tell=status.update)
    except KeyboardInterrupt:
        raise FwdtraceError(f"interrupted while {spec!r} was compared") from None


def _show(comparison: Comparison, files: list[Path], json: bool) -> None:
    console = result_console()
    for file in files:
        _save(comparison, file, console.width)
    if json:
        from fwdtrace.compare.comparison_file import write_comparison

        write_comparison(comparison, sys.stdout)
    else:
        if comparison.kind == "traces":
            from fwdtrace.render.two_traces import print_changes as print_it
        else:
            from fwdtrace.render.direct_forward import print_comparison as print_it
        print_it(comparison, console)
    sys.stdout.flush()


def _save(comparison: Comparison, file: Path, width: int) -> None:
    try:
        if file.suffix == ".json":
            comparison.save(file)
        else:
            from fwdtrace.trace.files import write_text

            write_text(file, _as_suffix(comparison, file, width).rstrip("\n") + "\n")
    except OSError as error:
        raise FwdtraceError(f"-o {file}: cannot be written: {error.strerror}") from None


def _as_suffix(comparison: Comparison, file: Path, width: int) -> str:
    if file.suffix == ".html":
        from fwdtrace.render.html import comparison_html

        return comparison_html(comparison)
    if comparison.kind == "traces":
        from fwdtrace.render.two_traces import changes_text

        return changes_text(comparison, width=width)
    from fwdtrace.render.direct_forward import comparison_text

    return comparison_text(comparison, width=width)
