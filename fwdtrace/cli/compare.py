"""`fwdtrace compare SPEC --direct-forward`: run a model called and directly, and say what differs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fwdtrace.cli.options import Input, Json, Output, Seed, Spec
from fwdtrace.cli.results import AskedToFail, check_files, result_console, stdout_kept_clean
from fwdtrace.errors import FwdtraceError

if TYPE_CHECKING:
    from torch import nn

    from fwdtrace.comparison import Comparison


def compare(
    spec: Spec = "lenet",
    direct_forward: Annotated[
        bool, typer.Option("--direct-forward", help="Compare model(x) with model.forward(x).")
    ] = False,
    at: Annotated[
        list[str] | None,
        typer.Option("--at", metavar="PATH", help="Run this submodule directly, not the model; repeatable."),
    ] = None,
    each: Annotated[bool, typer.Option("--each", help="Run every submodule directly, one at a time.")] = False,
    input: Input = None,
    seed: Seed = 0,
    json: Json = False,
    output: Output = None,
) -> None:
    """Run a model as model(x) and as model.forward(x) on equal copies, and show what differs. Exits with 1 if it does.

    Example: fwdtrace compare model.py:Net --direct-forward --at encoder
    """
    if not direct_forward:
        raise FwdtraceError(f"compare {spec}: say what with; --direct-forward compares model(x) with model.forward(x)")
    if at and each:
        raise FwdtraceError("--at and --each: give the one or the other; --each runs every submodule")
    files = output or []
    check_files(files)
    with stdout_kept_clean():
        comparison = _compared(spec, at or [""], each, input, seed)
    if os.environ.get("RANK", "0") == "0":  # under torchrun one process speaks for all
        _show(comparison, files, json)
    if not comparison.equal:
        count = len(comparison.differences)
        raise AskedToFail(f"{count} difference{'s' if count > 1 else ''} found")


def _compared(spec: str, at: list[str], each: bool, input: list[str] | None, seed: int) -> Comparison:
    from rich.console import Console

    from fwdtrace.direct import Setting, inventory_of, run_experiments
    from fwdtrace.inputs import build_inputs
    from fwdtrace.load import load_model
    from fwdtrace.randomness import seed_all

    def build() -> nn.Module:
        seed_all(seed)
        return load_model(spec).module

    seed_all(seed)
    try:
        loaded = load_model(spec)
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
        from fwdtrace.comparison_file import write_comparison

        write_comparison(comparison, sys.stdout)
    else:
        from fwdtrace.render.comparison import print_comparison

        print_comparison(comparison, console)
    sys.stdout.flush()


def _save(comparison: Comparison, file: Path, width: int) -> None:
    from fwdtrace.render.comparison import comparison_text

    try:
        if file.suffix == ".json":
            comparison.save(file)
        else:
            file.write_text(comparison_text(comparison, width=width) + "\n", encoding="utf-8")
    except OSError as error:
        raise FwdtraceError(f"-o {file}: cannot be written: {error.strerror}") from None
