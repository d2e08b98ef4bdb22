"""Measurements that need a process of their own: whole commands, growth with size, programs, and peers that linger."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

import fwdtrace
from tests.benchmarks.contenders import linears
from tests.benchmarks.rounds import NOTHING, milliseconds, processes, ratio

LENET = """
import torch
from fwdtrace.models.zoo.lenet import LeNet
torch.manual_seed(0)
with torch.no_grad():
    print(LeNet().eval()(torch.rand(1, 3, 32, 32)).shape)
"""

TYPER = """
import rich.console, typer
app = typer.Typer(add_completion=False)
@app.command()
def say(word: str, times: int = 1) -> None:
    rich.console.Console().print(word * times)
app()
"""


def per_process(console: Console, rounds: int) -> None:
    """Whole commands against the least that could do the same."""
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "trace.json")
        model, x = linears(10)
        with fwdtrace.record(model) as recording:
            model(x)
        recording.trace.save(file)
        fwdtrace_command = ["-m", "fwdtrace"]
        groups = {
            "a script that runs LeNet": {
                "a script that runs LeNet": ["-c", LENET],
                "fwdtrace run lenet": [*fwdtrace_command, "run", "lenet"],
            },
            "import typer, rich": {
                "import typer, rich": ["-c", "import typer, rich"],
                "a typer command": ["-c", TYPER, "word"],
                "fwdtrace --help": [*fwdtrace_command, "--help"],
                "fwdtrace models": [*fwdtrace_command, "models"],
                "fwdtrace show": [*fwdtrace_command, "show", file],
                "fwdtrace rule": [*fwdtrace_command, "rule", "FT001"],
            },
        }
        for least, commands in groups.items():
            measured = processes(commands, rounds)
            table = Table(title=f"processes, min / median of {rounds}")
            for heading in ("", "ms", f"× {least}"):
                table.add_column(heading, justify="right" if heading else "left")
            for name, times in measured.items():
                table.add_row(name, milliseconds(times), ratio(times, measured[least]))
            console.print(table)


GROWING = """
import sys, time, torch, fwdtrace
from tests.benchmarks.contenders import Repeated
from tests.benchmarks.memory import most_memory
torch.set_num_threads(1)
number = int(sys.argv[1])
model, x = Repeated(number).eval(), torch.rand(1, 16)
now = lambda: (time.perf_counter(), time.thread_time())
with torch.no_grad():
    first = Repeated(10)
    with fwdtrace.record(first) as recording:  # what is loaded for the first recording is no part of a call
        first(x)
    times = [now()]
    model(x)
    times.append(now())
    before = most_memory()
    with fwdtrace.record(model) as recording:
        model(x)
        times.append(now())
    calls = len(recording.trace.calls)
    times.append(now())
print(calls, *(end - begin for one, next in zip(times, times[1:]) for begin, end in zip(one, next)))
print(most_memory() - before)
"""


def per_size(console: Console, rounds: int) -> None:
    """How time and memory grow with the number of calls: each size in a process of its own."""
    console.print(_growth(1_000, 10_000, 100_000))


def per_million(console: Console, rounds: int) -> None:
    """A million calls, which take ten times as long as the largest size of `size` if all is linear."""
    console.print(_growth(1_000_000))


def _growth(*sizes: int) -> Table:
    """What a call of a module that does nothing takes, by the clock and of the CPU, and what it holds at most."""
    table = Table(title="µs of one call of an Identity, by the clock / of the CPU")
    for heading in ("calls", "bare", "recorded", "finished", "begin to end", "peak bytes"):
        table.add_column(heading, justify="right")
    for size in sizes:
        ended = subprocess.run([sys.executable, "-c", GROWING, str(size)], capture_output=True, text=True, check=True)
        calls, *took, peak = map(float, ended.stdout.split())
        pairs = [(wall * 1e6 / calls, cpu * 1e6 / calls) for wall, cpu in zip(took[::2], took[1::2], strict=True)]
        whole = pairs[1][0] + pairs[2][0], pairs[1][1] + pairs[2][1]
        cells = (f"{wall:.1f} / {cpu:.1f}" for wall, cpu in (*pairs, whole))
        table.add_row(f"{int(calls):,}", *cells, f"{peak / calls:.0f}")
    return table


# Peers that leave torch's functions wrapped, or print: whoever came after them in a process would be measured through
# their wrappers, so each has a process of its own, where bare calls come first.
ALONE = {
    "fwdtrace, calls and ops": "import fwdtrace\ndef watch():\n  with fwdtrace.record(model, ops=True): model(x)",
    "torchinfo": "import torchinfo\ndef watch(): torchinfo.summary(model, input_data=x, verbose=0)",
    "torchview": "import torchview\ndef watch(): torchview.draw_graph(model, input_data=x)",
    "DebugMode": (
        "from torch.utils._debug_mode import DebugMode\ndef watch():\n"
        "  with DebugMode(record_nn_module=True) as mode: model(x)\n  mode.debug_string()"
    ),
    "torchlens trace": "import torchlens\ndef watch(): torchlens.trace(model, x)",
    "torchvista": "import torchvista\ndef watch(): torchvista.trace_model(model, x)",
    "transformers debugger": (
        "import tempfile\nfrom transformers.model_debugging_utils import model_addition_debugger_context\n"
        "def watch():\n  with tempfile.TemporaryDirectory() as f, model_addition_debugger_context(model, f): model(x)"
    ),
}
ALONE_SCRIPT = """
import sys
from tests.torchvision_shim import sitecustomize
import torch
from time import perf_counter
from tests.benchmarks import contenders
from tests.benchmarks.memory import most_memory
torch.set_num_threads(1)
model, x = getattr(contenders, sys.argv[1])()
def times(run, rounds):
    found = []
    for number in range(rounds + 1):
        begin = perf_counter()
        run()
        found.append(perf_counter() - begin)
    return min(found[1:])
with torch.no_grad():
    bare = times(lambda: model(x), 5)
    exec(sys.argv[2])
    before = most_memory()
    print("took", bare, times(watch, 3), (most_memory() - before) / 2**20)
"""


def per_peer(console: Console, rounds: int) -> None:
    """What else watches a forward call, from beginning to end, each in a process of its own."""
    for make in ("resnet50", "small_llama"):
        table = Table("", "bare ms", "watched ms", "× bare", "MB more at the peak", title=f"{make}, minima")
        for name, watch in ALONE.items():
            command = [sys.executable, "-W", "ignore", "-c", ALONE_SCRIPT, make, watch]
            lines = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
            took = next((line.split()[1:] for line in reversed(lines) if line.startswith("took ")), None)
            table.add_row(name, *(_cells(*map(float, took)) if took else [NOTHING] * 4))
        console.print(table)


def _cells(bare: float, watched: float, more: float) -> tuple[str, ...]:
    return f"{bare * 1e3:.1f}", f"{watched * 1e3:.1f}", f"{watched / bare:.2f}", f"{more:.0f}"


TRAINING = """
import torch
from torch import nn
torch.set_num_threads(1)
torch.manual_seed(0)
model = nn.Sequential(*(nn.Linear(64, 64) for _ in range(20)))
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
x = torch.rand(32, 64)
import statistics, time
model(x)  # the call that is recorded
model(x)
took = []
for _ in range(100):
    begin = time.perf_counter()
    for _ in range(10):
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
    took.append(time.perf_counter() - begin)
print(statistics.median(took) / 10)
"""


def per_step(console: Console, rounds: int) -> None:
    """A training loop under `fwdtrace exec` after the call that was recorded, against the same loop without it."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "train.py"
        script.write_text(TRAINING, encoding="utf-8")
        ways = {"bare": [], "fwdtrace exec": ["-m", "fwdtrace", "exec", "-o", str(Path(folder) / "t.json")]}
        times: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(rounds):
            for name, way in list(ways.items())[:: -1 if number % 2 else 1]:  # neither is always the first
                command = [sys.executable, *way, str(script)]
                times[name].append(float(subprocess.run(command, capture_output=True, check=True).stdout))
    table = Table("", "ms", "× bare", title=f"a training step while not recording, min / median of {rounds}")
    for name, took in times.items():
        table.add_row(name, milliseconds(took), ratio(took, times["bare"]))
    console.print(table)
