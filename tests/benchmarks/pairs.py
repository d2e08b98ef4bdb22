"""What `fwdtrace compare A B --same-init` takes of two large models, which it builds or is given."""

from __future__ import annotations

import contextlib
import gc
import io
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import process_time

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from fwdtrace.cli import main
from fwdtrace.compare.two_models.recorded import Runnable
from fwdtrace.compare.weights.quick_draws import QuickDraws
from fwdtrace.run import two
from fwdtrace.run.two import TwoRunsPlan
from tests.benchmarks.memory import most_memory
from tests.benchmarks.rounds import NOTHING, ratio
from tests.torchvision_shim import sitecustomize  # noqa: F401  (imported for what it installs)

PAIRS = {
    "ViT-B/16, torchvision and timm": ("torchvision:vit_b_16", "timm:vit_base_patch16_224", "1x3x224x224"),
    "VGG-16, torchvision and timm": ("torchvision:vgg16", "timm:vgg16", "1x3x224x224"),
    "BERT-base, eager and fused attention": (f"{__name__}:bert_eager", f"{__name__}:bert", "1x64:int64:0..30000"),
    "GPT-2, Conv1D and Linear": (f"{__name__}:gpt2", f"{__name__}:gpt2_of_linears", "1x64:int64:0..50000"),
}
OBJECTS: list[nn.Module] = []
"""Both models of a pair that are given as objects, built before: `first` and `second` are their specs."""
COMPARED = f"""
import sys
from {__name__} import measured
print("took", *measured(*sys.argv[1:4], int(sys.argv[4])))
"""


@dataclass(frozen=True)
class Took:
    """What one pair took: CPU seconds round by round, those with two objects, and the most memory of the first command.

    The memory is in units of the weights of one model.
    """

    parameters: int
    forwards: list[float]
    commands: list[float]
    of_objects: float
    memory: float

    @property
    def bounds(self) -> list[float]:
        """Three times both forward calls and two seconds, round by round."""
        return [3 * both + 2 for both in self.forwards]


def per_pair(console: Console, rounds: int) -> None:
    """CPU time of `compare A B --same-init` from its arguments to its report, in units of 3 × both forwards + 2 s.

    Each pair has a process of its own, which has imported the libraries and has run both models before the clock
    starts. In each round it calls both models, and runs the command with two specs, of which that builds the models; at
    the end once with two models that are there.
    """
    table = Table(title=f"compare --same-init by 3 × both forward calls + 2 s of CPU; min / median of {rounds}")
    for heading in ("", "million parameters", "both forwards s", "built by it", "given as objects", "peak in weights"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, pair in PAIRS.items():
        took = _took(pair, rounds)
        if took is None:
            table.add_row(name, *[NOTHING] * 5)
            continue
        forwards = f"{min(took.forwards):.2f} / {median(took.forwards):.2f}"
        built, given = ratio(took.commands, took.bounds), took.of_objects / median(took.bounds)
        table.add_row(name, f"{took.parameters / 1e6:.0f}", forwards, built, f"{given:.2f}", f"{took.memory:.1f}")
    console.print(table)


def _took(pair: tuple[str, str, str], rounds: int) -> Took | None:
    """What a pair took; None if a library is missing."""
    command = [sys.executable, "-W", "ignore", "-c", COMPARED, *pair, str(rounds)]
    lines = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    said = next((line.split()[1:] for line in reversed(lines) if line.startswith("took ")), None)
    if said is None:
        return None
    count, memory, of_objects, *seconds = map(float, said)
    return Took(int(count), seconds[::2], seconds[1::2], of_objects, memory)


def measured(first: str, second: str, given: str, rounds: int) -> list[float]:
    """Parameters, memory, seconds of the command with objects, and of forwards and command in each round."""
    torch.set_num_threads(1)
    both = _built(first, second, given)
    count = sum(parameter.numel() for parameter in both[0].model.parameters())
    _forwards(both)  # which imports what the models need
    memory = 0.0
    rows: list[float] = []
    for _ in range(rounds):
        rows.append(_seconds(lambda both=both: _forwards(both)))
        both = ()
        before = _memory_from_here()
        rows.append(_seconds(lambda: _command(first, second, given)))
        memory = memory or (most_memory() - before) / (4 * count)
        both = _built(first, second, given)
    OBJECTS[:] = [each.model for each in both]
    of_objects = _seconds(lambda: _command(f"{__name__}:first", f"{__name__}:second", given))
    return [count, memory, of_objects, *rows]


def __getattr__(name: str) -> nn.Module:
    if name in ("first", "second") and OBJECTS:
        return OBJECTS[name == "second"]
    raise AttributeError(name)


def _built(first: str, second: str, given: str) -> tuple[Runnable, ...]:
    return two._both(TwoRunsPlan(first, second, inputs=(given,), same_init=True), (QuickDraws(), QuickDraws()))


def _forwards(both: tuple[Runnable, ...]) -> None:
    with torch.no_grad():
        for each in both:
            each.model(*each.args, **each.kwargs)


def _command(first: str, second: str, given: str) -> None:
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            main(["compare", first, second, "--same-init", "--input", given])
    except SystemExit as ended:
        if ended.code not in (None, 0, 1):
            raise RuntimeError(f"{first} and {second} were not compared") from ended


def _seconds(run: Callable[[], None]) -> float:
    begin = process_time()
    run()
    return process_time() - begin


def _memory_from_here() -> int:
    """The bytes that this process has, once it has forgotten the most that it had so far, as far as Linux does that."""
    gc.collect()
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return most_memory()


def bert() -> nn.Module:
    """BERT-base, whose attention is one operation."""
    from transformers import BertConfig, BertModel

    return BertModel(BertConfig(attn_implementation="sdpa"), add_pooling_layer=False).eval()  # type: ignore[no-any-return]


def bert_eager() -> nn.Module:
    """BERT-base, whose attention is made of products."""
    from transformers import BertConfig, BertModel

    return BertModel(BertConfig(attn_implementation="eager"), add_pooling_layer=False).eval()  # type: ignore[no-any-return]


def gpt2() -> nn.Module:
    """GPT-2, whose matrices have a column for each output."""
    from transformers import GPT2Config, GPT2Model

    return GPT2Model(GPT2Config(use_cache=False)).eval()  # type: ignore[no-any-return]


def gpt2_of_linears() -> nn.Module:
    """GPT-2 with linear layers in their place."""
    model = gpt2()
    for module in [*model.modules()]:
        for name, child in [*module.named_children()]:
            if type(child).__name__ == "Conv1D":
                setattr(module, name, nn.Linear(*child.weight.shape))  # type: ignore[arg-type]
    return model
