"""The checks: each part gives names and functions, and a function gives what is wrong, nothing if all is well."""

from __future__ import annotations

import gc
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.console import Console
from torch import nn
from torch.utils._pytree import tree_map_only

import fwdtrace
from fwdtrace.models.randomness import random_state
from fwdtrace.recorder.accelerators import TORCHS
from fwdtrace.run.once import Measures, RunPlan, prepare, run_once
from fwdtrace.run.two import TwoRunsPlan, compare_two
from fwdtrace.trace import Trace
from tests.benchmarks.__main__ import whole_calls
from tests.benchmarks.contenders import ESSENTIAL, MORE, resnet50, small_llama, vit_b_16
from tests.helpers import footprint as pictures
from tests.helpers.commands import REPOSITORY
from tests.helpers.real_models import MODELS
from tests.oracle.agreement import (
    Builder,
    Workload,
    built,
    differences_in_results,
    differences_with_all_options,
    disagreements,
    run,
)

TEN = (
    *("torchvision:resnet18", "torchvision:VisionTransformer", "timm:convnextv2_atto", "timm:mobilevit_xxs"),
    *("transformers:BertForSequenceClassification", "transformers:CLIPModel", "transformers:LlamaForCausalLM"),
    *("transformers:T5ForConditionalGeneration", "transformers:ViTModel", "transformers:Wav2Vec2Model"),
)
FURTHEST = 0.1
"""How far a device's time may be from what torch's profiler says, as a share of it."""
ROUNDS = 7

Check = tuple[str, Callable[[], Sequence[str]]]

PROGRAM = """
import sys
import torch
from torch import nn
torch.use_deterministic_algorithms(True)
torch.manual_seed(0)
device = sys.argv[1]
model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Dropout(), nn.Linear(7200, 10))
model.to(device)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
for step in range(20):
    x, y = torch.rand(16, 3, 32, 32, device=device), torch.randint(10, (16,), device=device)
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    print(step, loss.item().hex())
print(torch.rand(2, device=device).tolist())
"""


def agreement(device: str) -> Iterator[Check]:
    """Ten models, in eval and in training: the recorder sees what the oracle sees, and changes nothing."""
    for name in TEN:
        for training in (False, True):
            yield f"{name} {'train' if training else 'eval'}", partial(_agreement, MODELS[name], device, training)


def footprint(device: str) -> Iterator[Check]:
    """Nothing is left: no hook, no patch, no memory, no peak that the program's own run would not have."""
    yield "hooks and patches", partial(_no_hooks, device)
    yield "memory", partial(_no_memory, device)


def random_states(device: str) -> Iterator[Check]:
    """The generators of the device are kept and restored, and a recording draws from none."""
    yield "", partial(_random, device)


def observed_training(device: str) -> Iterator[Check]:
    """A training under `fwdtrace exec` prints the same losses, bit for bit."""
    yield "training", partial(_observed_training, device)


def comparison(device: str) -> Iterator[Check]:
    """The CPU and the device differ by rounding alone."""
    for spec in ("lenet", "torchvision:resnet18", "timm:vit_tiny_patch16_224"):
        yield f"{spec} on cpu and {device}", partial(_comparison, spec, device)


def times(device: str) -> Iterator[Check]:
    """The time of a call is what torch's profiler says, and nothing waits for the device."""
    yield "against torch's profiler", partial(_times, device)
    yield "nothing waits", partial(_no_waiting, device)


def memory(device: str) -> Iterator[Check]:
    """The peak of a call is what its tensors need."""
    yield "peaks", partial(_peaks, device)


def graphs(device: str) -> Iterator[Check]:
    """A model that is captured into a graph while it is recorded replays as it does without."""
    yield "capture", partial(_capture, device)


def benchmarks(device: str) -> Iterator[Check]:
    """What recording costs here, as the rows of `python -m tests.benchmarks model`."""
    for make in (resnet50, vit_b_16, small_llama):
        yield make.__name__, partial(_benchmark, make, device)


def _on(device: str, build: Builder) -> Workload:
    model, args, kwargs = build()
    args, kwargs = tree_map_only(torch.Tensor, lambda tensor: tensor.to(device), (args, kwargs))
    return model.to(device), args, kwargs


def _agreement(build: Builder, device: str, training: bool) -> list[str]:
    there = partial(_on, device, build)
    unstable = differences_in_results(run(built(there), training=training), run(built(there), training=training))
    found = [
        *disagreements(there, training=training),
        *(f"with all options: {what}" for what in differences_with_all_options(there, training=training)),
    ]
    return [what for what in found if what.removeprefix("with all options: ") not in unstable]


def _recorded(device: str, **options: bool) -> Trace:
    model, args, kwargs = built(partial(_on, device, MODELS["torchvision:resnet18"]))
    with fwdtrace.record(model, **options) as recording:
        model(*args, **kwargs).sum().backward()
    return recording.trace


EVERYTHING = {"ops": True, "check_finite": True, "stats": True, "costs": True, "gradients": True}


def _no_hooks(device: str) -> list[str]:
    _recorded(device)  # torch itself changes some things when they are first used
    before = pictures.of_the_process()
    _recorded(device, **EVERYTHING)
    return pictures.changes(before, pictures.of_the_process())


def _no_memory(device: str) -> list[str]:
    if device == "cpu":
        return []
    module: Any = getattr(torch, device.partition(":")[0])

    def levels(observed: bool) -> tuple[int, int, int]:
        """What was allocated before and after, and the most meanwhile, of the second of two equal runs."""
        for _ in range(2):
            gc.collect()
            model, args, _ = built(partial(_on, device, MODELS["torchvision:resnet18"]))
            module.reset_peak_memory_stats()
            before = module.memory_allocated()
            if observed:
                with fwdtrace.record(model, ops=True, costs=True):
                    model(*args).sum().backward()
            else:
                model(*args).sum().backward()
            most, after = module.max_memory_allocated(), module.memory_allocated()
            del model, args
        return before, after, most

    bare, recorded = levels(False), levels(True)
    return [] if bare == recorded else [f"bytes before, after and at most were {bare} bare and {recorded} recorded"]


def _random(device: str) -> list[str]:
    torch.rand(1, device=device)
    before = random_state()
    first = torch.rand(8, device=device)
    drew = not before.same_as(random_state())
    before.restore()
    again = torch.rand(8, device=device)
    before.restore()
    model, x = nn.Sequential(nn.Linear(64, 64), nn.Dropout()).to(device), torch.ones(8, 64, device=device)
    start = random_state()
    model(x)
    bare = random_state()
    start.restore()
    with fwdtrace.record(model, **EVERYTHING):
        model(x)
    problems = {
        "a draw is not seen": drew,
        "a restored state gives other numbers": torch.equal(first, again),
        "a recorded call leaves another state": bare.same_as(random_state()),
    }
    return [problem for problem, well in problems.items() if not well]


def _observed_training(device: str) -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        script, trace = Path(folder, "train.py"), Path(folder, "trace.json")
        script.write_text(PROGRAM, encoding="utf-8")
        bare, again, observed = (
            subprocess.run([sys.executable, *command, script, device], capture_output=True, text=True, env=_ENVIRONMENT)
            for command in ([], [], ["-m", "fwdtrace", "exec", "-o", trace])
        )
        if bare.returncode or bare.stdout != again.stdout:
            return [f"two bare runs differ, or failed: {bare.stderr[-300:]}"]
        problems = [] if observed.stdout == bare.stdout else [f"it printed something else: {observed.stderr[-300:]}"]
        if not trace.exists():
            return [*problems, "no trace was saved"]
        calls = fwdtrace.load_trace(trace).calls
        timed = all(call.host_us is not None for call in calls) if device != "cpu" else True
        return [*problems, *([] if timed else ["a call has no time of the device"])]


_ENVIRONMENT = {**os.environ, "PYTHONPATH": str(REPOSITORY), "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}


def _comparison(spec: str, device: str) -> list[str]:
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    found = compare_two(TwoRunsPlan(spec, device=device)).comparison
    return [difference.message for difference in found.differences if difference.severity != "rounding"][:3]


def _large(device: str) -> tuple[nn.Sequential, torch.Tensor]:
    """Layers whose work on the device is far longer than their launch."""
    layers = [nn.Sequential(nn.Linear(4096, 4096), nn.GELU()) for _ in range(3)]
    model = nn.Sequential(*layers, nn.Linear(4096, 8192)).eval().to(device)
    return model, torch.rand(8192, 4096, device=device)


def _times(device: str) -> list[str]:
    model, x = _large(device)
    with torch.no_grad():
        model(x)
        recorded: dict[str, list[float]] = {}
        for _ in range(ROUNDS):
            with fwdtrace.record(model) as recording:
                model(x)
            for call in recording.trace.calls:
                if call.path in ("", "0", "3") and call.host_us is not None and call.duration_us is not None:
                    recorded.setdefault(call.path, []).append(call.duration_us)
        parts = {"": model, "0": model[0], "3": model[3]}
        profiled = {path: [_profiled(part, x, device) for _ in range(ROUNDS)] for path, part in parts.items()}
    problems = [f"{path or 'the model'} has no time of the device" for path in parts if path not in recorded]
    for path, found in recorded.items():
        ours, theirs = median(found), median(profiled[path])
        print(f"        {path or 'the model'}: {ours:.0f} µs, torch's profiler {theirs:.0f} µs")
        if abs(ours - theirs) > FURTHEST * theirs:
            problems.append(f"{path or 'the model'} took {ours:.0f} µs, and {theirs:.0f} by torch's profiler")
    return problems


def _profiled(module: nn.Module, x: torch.Tensor, device: str) -> float:
    """The microseconds from the begin of the first kernel of a call to the end of the last."""
    from torch.autograd import DeviceType
    from torch.profiler import profile

    TORCHS.wait(device)
    with profile() as profiler:
        module(x)
        TORCHS.wait(device)
    kernels = [event.time_range for event in profiler.events() if event.device_type != DeviceType.CPU]
    return max(span.end for span in kernels) - min(span.start for span in kernels)


def _no_waiting(device: str) -> list[str]:
    model, x = _large(device)
    with torch.no_grad():
        model(x)
        TORCHS.wait(device)
        with fwdtrace.record(model) as recording:
            model(x)
    root = recording.trace.calls[0]
    if root.host_us is None or root.duration_us is None:
        return ["the model has no time of the device"]
    slow = root.host_us > root.duration_us / 2
    return [f"the host took {root.host_us:.0f} µs of {root.duration_us:.0f}: somebody waited"] if slow else []


def _peaks(device: str) -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "net.py")
        file.write_text("from torch import nn\nNet = nn.Sequential(nn.ReLU(), nn.ReLU())\n", encoding="utf-8")
        plan = RunPlan(f"{file}:Net", ("1024x4096",), device=device, measures=Measures(costs=True))
        found = {call.path: call.memory_bytes for call in run_once(plan, prepare(plan)).trace.calls}
    size = 4 * 1024 * 4096
    expected = {"": 2 * size, "0": size, "1": size}
    return [] if found == expected else [f"the peaks are {found}, not {expected}"]


def _capture(device: str) -> list[str]:
    if device.partition(":")[0] != "cuda":
        return []
    model, x = nn.Sequential(nn.Linear(64, 64), nn.ReLU()).eval().to(device), torch.rand(8, 64, device=device)
    with torch.no_grad():
        expected = model(x)
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            model(x)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph), fwdtrace.record(model) as recording:
            output = model(x)
        graph.replay()
    torch.cuda.synchronize()
    timed = [call.path for call in recording.trace.calls if call.host_us is not None]
    problems = {
        "the replay gives other numbers": torch.equal(output, expected),
        "a captured call has a time of the device": not timed,
        "calls are missing": len(recording.trace.calls) == 3,
    }
    return [problem for problem, well in problems.items() if not well]


def _benchmark(make: Callable[[], tuple[nn.Module, torch.Tensor]], device: str) -> list[str]:
    model, x = make()
    console = Console(width=120)
    table = whole_calls(f"{make.__name__} on {device}", (*ESSENTIAL, *MORE[:1]), model.to(device), x.to(device), 5)
    with console.capture() as capture:
        console.print(table)
    print(re.sub("(?m)^", "        ", capture.get().rstrip()))
    return []
