"""Print what observing costs, as ratios measured in one run: per call, per real model, per process, per byte."""

from __future__ import annotations

import argparse
import gc
import sys
import tempfile
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from time import perf_counter

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

import fwdtrace
from tests.benchmarks.apart import per_million, per_peer, per_process, per_size, per_step
from tests.benchmarks.contenders import (
    ESSENTIAL,
    MORE,
    PEERS,
    Contender,
    Pass,
    bare,
    count_time_of_cpu,
    identities,
    linears,
    llama_405b_on_meta,
    llama_generating_32_tokens,
    lstm_of_10_000_steps,
    nested,
    resnet50,
    small_llama,
    two_empty_hooks,
    vit_b_16,
)
from tests.benchmarks.events import per_watched_step
from tests.benchmarks.pairs import per_pair
from tests.benchmarks.rounds import NOTHING, milliseconds, passes, ratio
from tests.torchvision_shim import sitecustomize  # noqa: F401  (imported for what it installs)

CALLS = 1000


def per_call(console: Console, rounds: int) -> None:
    """Added time per call where the modules do little or nothing."""
    for name, (model, x) in {"Identity": identities(CALLS), "Linear(16, 16)": linears(CALLS)}.items():
        measured = passes((*ESSENTIAL, PEERS[0]), model, x, rounds)
        base, hooks = forwards(measured[bare]), forwards(measured[two_empty_hooks])
        table = Table(title=f"{CALLS} × {name}; µs are those of one call; min / median of {rounds}")
        for heading in ("", "forward ms", "× bare", "µs added", "× two hooks", "prepare ms", "finish µs"):
            table.add_column(heading, justify="right" if heading else "left")
        for contender, took in measured.items():
            times = forwards(took)
            table.add_row(
                contender.__name__.replace("_", " "),
                milliseconds(times),
                ratio(times, base),
                added(times, base),
                added_ratio(times, base, hooks),
                milliseconds([each.prepare for each in took]),
                milliseconds([each.finish * 1e3 / CALLS for each in took]),
            )
        console.print(table)


def per_module(console: Console, rounds: int) -> None:
    """From `record()` to the finished trace where each module is called once, side by side and inside each other."""
    sys.setrecursionlimit(20 * CALLS)
    for name, (model, x) in {f"{CALLS} × Linear(16, 16)": linears(CALLS), f"{CALLS} nested": nested(CALLS)}.items():
        peers = PEERS[:1] if "Linear" in name else ()  # torchinfo takes minutes for the nested ones
        measured = passes((*ESSENTIAL, *peers), model, x, rounds)
        base, hooks = forwards(measured[bare]), forwards(measured[two_empty_hooks])
        table = Table(title=f"{name}, each called once; min / median of {rounds}")
        for heading in ("", "whole ms", "µs a module", "× two hooks"):
            table.add_column(heading, justify="right" if heading else "left")
        for contender, took in measured.items():
            # What two hooks add to the forward call is the unit; all else counts with what it does before and after.
            times = (
                hooks if contender is two_empty_hooks else [each.prepare + each.forward + each.finish for each in took]
            )
            table.add_row(
                contender.__name__.replace("_", " "),
                *(milliseconds(times), added(times, base), added_ratio(times, base, hooks)),
            )
        console.print(table)


def per_model(console: Console, rounds: int) -> None:
    """The whole forward call of real models, and everything that watching it takes."""
    for make in (
        *(resnet50, vit_b_16, small_llama, llama_generating_32_tokens, lstm_of_10_000_steps, llama_405b_on_meta),
    ):
        model, x = make()
        # Values do not exist on meta, and each peer takes minutes there or for ten thousand steps.
        large = make in (lstm_of_10_000_steps, llama_405b_on_meta)
        contenders = (*ESSENTIAL, *MORE[:2]) if large else (*ESSENTIAL, *MORE, *PEERS)
        for device in devices(model):
            model, x = model.to(device), x.to(device)
            console.print(whole_calls(f"{make.__name__} on {device}", contenders, model, x, rounds))


def devices(model: nn.Module) -> list[str]:
    """Where a model can be measured: where it is, and on a GPU if there is one and the model has values."""
    home = next(model.parameters()).device.type
    return [home, "cuda"] if home == "cpu" and torch.cuda.is_available() else [home]


def whole_calls(title: str, contenders: Sequence[Contender], model: nn.Module, x: Tensor, rounds: int) -> Table:
    """What each contender takes of the forward call alone, and of everything."""
    measured = passes(contenders, model, x, rounds)
    table = Table(title=f"{title}, {count(model, x)} calls, min / median of {rounds}")
    for heading in ("", "forward ms", "× bare", "all ms", "all × bare", "finish ms"):
        table.add_column(heading, justify="right" if heading else "left")
    base = forwards(measured[bare])
    for contender, took in measured.items():
        whole = [each.prepare + each.forward + each.finish for each in took]
        table.add_row(
            contender.__name__.replace("_", " "),
            *(milliseconds(forwards(took)), ratio(forwards(took), base), milliseconds(whole), ratio(whole, base)),
            milliseconds([each.finish for each in took]),
        )
    return table


def per_byte(console: Console, rounds: int) -> None:
    """What a recording of a hundred thousand calls keeps, and what writing it takes."""
    model, x = linears(CALLS)
    repeats = 100
    with torch.no_grad(), fwdtrace.record(model):  # which imports what every recording needs
        model(x)
    gc.collect()
    tracemalloc.start()
    with torch.no_grad(), fwdtrace.record(model) as recording:
        for _ in range(repeats):
            model(x)
    gc.collect()
    recorded, _ = tracemalloc.get_traced_memory()
    trace = recording.trace
    gc.collect()
    finished, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    calls = len(trace.calls)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "trace.json"
        start = perf_counter()
        trace.save(file)
        wrote = perf_counter() - start
        size = file.stat().st_size
        start = perf_counter()
        same = fwdtrace.load_trace(file) == trace
        read = perf_counter() - start
    table = Table("", "a call", title=f"{calls} calls of {CALLS} layers")
    table.add_row("kept when the block ends", f"{recorded / calls:.0f} bytes")
    table.add_row("kept when finished", f"{finished / calls:.0f} bytes")
    table.add_row("most while finishing", f"{peak / calls:.0f} bytes")
    table.add_row("JSON", f"{size / calls:.0f} bytes, written in {wrote * 1e6 / calls:.1f} µs")
    table.add_row("read back " + ("equal" if same else "DIFFERENT"), f"{read * 1e6 / calls:.1f} µs")
    console.print(table)


def forwards(took: list[Pass]) -> list[float]:
    """The seconds of the forward calls alone."""
    return [each.forward for each in took]


def added(times: list[float], base: list[float]) -> str:
    """Microseconds added to a call, by the minima and by the medians."""
    if not times:
        return NOTHING
    return f"{(min(times) - min(base)) * 1e6 / CALLS:.2f} / {(median(times) - median(base)) * 1e6 / CALLS:.2f}"


def added_ratio(times: list[float], base: list[float], hooks: list[float]) -> str:
    """What is added, in units of what two empty hooks add."""
    if not times:
        return NOTHING
    by_minimum = (min(times) - min(base)) / (min(hooks) - min(base))
    return f"{by_minimum:.2f} / {(median(times) - median(base)) / (median(hooks) - median(base)):.2f}"


def count(model: nn.Module, x: Tensor) -> int:
    """How many calls a forward call is made of."""
    with torch.no_grad(), fwdtrace.record(model) as recording:
        model(x)
    return len(recording.trace.calls)


PARTS: dict[str, tuple[Callable[[Console, int], None], int]] = {
    "call": (per_call, 25),
    "module": (per_module, 25),
    "model": (per_model, 5),
    "process": (per_process, 7),
    "peer": (per_peer, 1),
    "byte": (per_byte, 1),
    "size": (per_size, 1),
    "million": (per_million, 1),
    "step": (per_step, 15),
    "events": (per_watched_step, 40),
    "pair": (per_pair, 3),
}


def main() -> None:
    """Run the parts that were asked for, all by default."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"some of: {', '.join(PARTS)} (default: all)")
    parser.add_argument("--rounds", type=int, help="rounds of each measurement")
    parser.add_argument("--cpu", action="store_true", help="count the CPU's time in call, module and model")
    options = parser.parse_args()
    unknown = sorted(set(options.parts) - set(PARTS))
    if unknown:
        parser.error(f"no part named {', '.join(unknown)}; there are {', '.join(PARTS)}")
    torch.set_num_threads(1)
    if options.cpu:
        count_time_of_cpu()
    console = Console(width=120)
    for part in options.parts or PARTS:
        measure, rounds = PARTS[part]
        measure(console, options.rounds or rounds)


if __name__ == "__main__":
    main()
