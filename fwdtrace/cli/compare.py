"""`fwdtrace compare`: two models or saved traces, one model in two ways, or called and directly; say what differs."""

from __future__ import annotations

import os
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated

from fwdtrace.cli.declared import argument
from fwdtrace.cli.fail_on import AskedToFail
from fwdtrace.cli.files import check_files
from fwdtrace.cli.options import (
    Color,
    Directly,
    FullTraceback,
    Inputs,
    MaxBytes,
    Pairing,
    Programs,
    Result,
    Seed,
    Spec,
    Trust,
    Variation,
)
from fwdtrace.cli.progress import progress
from fwdtrace.cli.results import give_comparison
from fwdtrace.cli.terminal import stdout_kept_clean
from fwdtrace.cli.tracebacks import full_tracebacks
from fwdtrace.errors import FwdtraceError
from fwdtrace.run.cold_start import import_torch

if TYPE_CHECKING:
    from fwdtrace.compare.comparison import TraceComparison
    from fwdtrace.compare.direct.comparison import DirectComparison
    from fwdtrace.errors import ModelError


def compare(
    directly: Directly,
    pairing: Pairing,
    variation: Variation,
    programs: Programs,
    result: Result,
    spec: Spec = "lenet",
    other: Annotated[
        str | None, argument(metavar="OTHER", help="Another SPEC; or both are saved traces, or programs.")
    ] = None,
    input: Inputs = None,
    seed: Seed = 0,
    max_bytes: MaxBytes = 2**30,
    trust: Trust = False,
    color: Color = "auto",
    full_traceback: FullTraceback = False,
) -> None:
    """Show where two models, runs, programs or saved traces differ.

    The first call whose inputs agree and whose output does not comes first. Exits with 1 if anything differs.

    Example: fwdtrace compare original.py:Net port.py:Net --same-init

    Example: fwdtrace compare model.py:Net --direct-forward --at encoder

    Example: fwdtrace compare 'train.py --attn eager' 'train.py --attn sdpa' --programs
    """
    _check_programs(programs, other, directly, bool(input), variation, pairing)
    _check_what_goes_together(spec, other, directly, pairing, variation)
    check_files(result.files, (".json", ".txt") if directly.direct_forward else (".json", ".txt", ".html"))
    inputs, maps = tuple(input or ()), tuple(pairing.map or ())
    saved = [name for name in (spec, other or "") if name.endswith(".json") and not programs.programs]
    if saved:
        _check_saved(saved, bool(inputs) or variation != Variation() or replace(pairing, map=None) != Pairing())
    comparison: TraceComparison | DirectComparison
    error: ModelError | None = None
    what = f"comparing {' and '.join(name for name in (spec, other) if name)}"
    with full_tracebacks(full_traceback), stdout_kept_clean(), progress(what) as tell:
        if saved:
            from fwdtrace.run.saved import compare_saved

            comparison = compare_saved(saved[0], saved[1], maps)
        elif programs.programs:
            from fwdtrace.run.programs import ProgramsPlan, compare_two_programs

            chosen = {"call": programs.call, "first": programs.first, "model": programs.model}
            plan = ProgramsPlan(spec, other or "", maps, max_bytes=max_bytes, **chosen)  # type: ignore[arg-type]
            comparison = compare_two_programs(plan, tell)
        elif directly.direct_forward:
            import_torch()
            from fwdtrace.run.direct import compare_direct_forward

            paths = directly.at or [""]
            comparison = compare_direct_forward(
                spec, paths, each=directly.each, inputs=inputs, seed=seed, trust=trust, tell=tell
            )
        else:
            import_torch()
            from fwdtrace.run.two import TwoRunsPlan, compare_two

            options = {**asdict(pairing), **asdict(variation), "max_bytes": max_bytes, "trust": trust}
            del options["map"]
            compared = compare_two(TwoRunsPlan(spec, other, maps, inputs, seed, **options))
            comparison, error = compared.comparison, compared.error
    if os.environ.get("RANK", "0") == "0":  # under torchrun one process speaks for all
        give_comparison(comparison, result, color)
    if error is not None:
        error.full_traceback = full_traceback
        raise error
    _fail_unless_equal(comparison)


def _check_programs(
    programs: Programs, other: str | None, directly: Directly, has_inputs: bool, variation: Variation, pairing: Pairing
) -> None:
    if not programs.programs:
        if programs != Programs():
            raise FwdtraceError("--call, --first and --model go with --programs")
        return
    if other is None:
        raise FwdtraceError("--programs: give two programs, such as 'train.py --lr 1e-3' 'train.py --lr 1e-4'")
    if directly != Directly() or has_inputs or variation != Variation() or replace(pairing, map=None) != Pairing():
        raise FwdtraceError("--programs: a program has its own model and inputs; leave the options for models off")
    if programs.call is not None and programs.first is not None:
        raise FwdtraceError("--call and --first are different ways to choose calls; give one of them")


def _check_what_goes_together(
    spec: str, other: str | None, directly: Directly, pairing: Pairing, variation: Variation
) -> None:
    has_two_runs = other is not None or variation != Variation()
    if directly.direct_forward:
        if has_two_runs or pairing != Pairing():
            raise FwdtraceError("--direct-forward compares one SPEC with itself; leave the other options off")
        if directly.at and directly.each:
            raise FwdtraceError("--at and --each: give the one or the other; --each runs every submodule")
        return
    if directly != Directly():
        raise FwdtraceError("--at and --each go with --direct-forward")
    if not has_two_runs and spec.endswith(".json"):
        raise FwdtraceError(f"compare {spec}: say what with: write compare {spec} OTHER.json, a second trace")
    if not has_two_runs:
        ways = "a second SPEC, --train, --dtype, --device, --compile, --batch, or --direct-forward for model.forward(x)"
        raise FwdtraceError(f"compare {spec}: say what with: {ways}")


def _check_saved(saved: list[str], needs_models: bool) -> None:
    if len(saved) != 2:
        raise FwdtraceError(f"compare {saved[0]}: a saved trace is compared with another; give two .json files")
    if needs_models:
        raise FwdtraceError(f"compare {saved[0]}: only models can be run in another way; saved traces have been run")


def _fail_unless_equal(comparison: TraceComparison | DirectComparison) -> None:
    if not comparison.equal:
        from fwdtrace.trace.text import plural

        raise AskedToFail(f"{plural(len(comparison.differences), 'difference')} found")
