"""Check on a real accelerator what the tests show on a fake one: a line for each check, and how many passed.

Exit status 0 if all passed, 1 if one failed, 2 if there is no accelerator.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from time import perf_counter

import torch

from tests.accelerator import checks

Check = tuple[str, Callable[[], Sequence[str]]]
"""The name of a check, and a function that gives what is wrong."""

PARTS: dict[str, Callable[[str], Iterator[Check]]] = {
    "agreement": checks.agreement,
    "footprint": checks.footprint,
    "random": checks.random_states,
    "exec": checks.observed_training,
    "compare": checks.comparison,
    "times": checks.times,
    "memory": checks.memory,
    "graphs": checks.graphs,
    "benchmarks": checks.benchmarks,
}
ON_A_DEVICE_ONLY = ("times", "memory", "graphs")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts that were asked for, all by default."""
    parser = argparse.ArgumentParser(prog="python -m tests.accelerator", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"some of: {', '.join(PARTS)} (default: all)")
    parser.add_argument("--device", help="another than torch's accelerator; with cpu, what needs none is checked")
    options = parser.parse_args(arguments)
    if unknown := sorted(set(options.parts) - set(PARTS)):
        parser.error(f"no part named {', '.join(unknown)}; there are {', '.join(PARTS)}")
    device = options.device or available()
    if device is None:
        print("no accelerator: torch finds none on this machine, so nothing was checked")
        return 2
    torch.use_deterministic_algorithms(True, warn_only=True)
    print(f"torch {torch.__version__} on {device}{described(device)}", flush=True)
    results: list[bool] = []
    for part in options.parts or PARTS:
        if device == "cpu" and part in ON_A_DEVICE_ONLY:
            print(f"left out  {part}: the CPU is no accelerator")
            continue
        results += [passed(f"{part} {name}".rstrip(), check) for name, check in PARTS[part](device)]
    print(f"{sum(results)} passed, {len(results) - sum(results)} failed")
    return 0 if all(results) else 1


def passed(name: str, check: Callable[[], Sequence[str]]) -> bool:
    """Run one check and print a line about it."""
    start = perf_counter()
    try:
        problems = check()
    except Exception as error:  # a check that cannot be run has failed, and the others go on
        problems = [f"{type(error).__name__}: {error}"]
    said = f"  {'; '.join(problems)}" if problems else ""
    print(f"{'FAILED' if problems else 'passed'}  {name}  {perf_counter() - start:.1f} s{said}", flush=True)
    return not problems


def available() -> str | None:
    """The type of torch's accelerator, if there is one here that works."""
    if not hasattr(torch, "accelerator"):
        return "cuda" if torch.cuda.is_available() else None
    return torch.accelerator.current_accelerator().type if torch.accelerator.is_available() else None


def described(device: str) -> str:
    """The name of the device, in brackets, if torch tells it."""
    module = getattr(torch, device.partition(":")[0])
    return f" ({module.get_device_name()})" if hasattr(module, "get_device_name") else ""


if __name__ == "__main__":
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read at the first product; without, it may not repeat
    sys.exit(main())
