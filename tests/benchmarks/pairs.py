"""What `fwdtrace compare A B --same-init` takes of two large models, both built, each pair in a process of its own."""

from __future__ import annotations

import subprocess
import sys

from rich.console import Console
from rich.table import Table
from torch import nn

from tests.benchmarks.rounds import NOTHING

PAIRS = {
    "ViT-B/16, torchvision and timm": ("torchvision:vit_b_16", "timm:vit_base_patch16_224", ""),
    "VGG-16, torchvision and timm": ("torchvision:vgg16", "timm:vgg16", ""),
    "BERT-base, eager and fused attention": (f"{__name__}:bert_eager", f"{__name__}:bert", "1x64:int64:0..30000"),
    "GPT-2, Conv1D and Linear": (f"{__name__}:gpt2", f"{__name__}:gpt2_of_linears", "1x64:int64:0..50000"),
}
# Libraries are imported before the clock starts: their import takes longer than the comparison, and is not ours.
COMPARED = """
import sys, time
from tests.torchvision_shim import sitecustomize
import torch
torch.set_num_threads(1)
from fwdtrace.run.two import TwoRunsPlan, compare_two
from fwdtrace.run import two
first, second, given = sys.argv[1:]
plan = TwoRunsPlan(first, second, inputs=(given,) if given else (), same_init=True)
both = two._both(plan)
def forwards():
    for each in both:
        each.model(*each.args, **each.kwargs)
def seconds(run):
    begin = time.thread_time()
    run()
    return time.thread_time() - begin
with torch.no_grad():
    bare = min([seconds(forwards) for _ in range(4)][1:])
count = sum(parameter.numel() for parameter in both[1].model.parameters())
del both
print("took", count, bare, seconds(lambda: compare_two(plan)))
"""


def per_pair(console: Console, rounds: int) -> None:
    """CPU seconds from two specs to the verdict, against three times both forward calls and two seconds."""
    table = Table(
        "", "million parameters", "both forwards s", "compared s", "of 3 × both + 2 s", title=f"best of {rounds}"
    )
    for name, pair in PAIRS.items():
        found = [each for each in (_measured(*pair) for _ in range(rounds)) if each]
        if not found:
            table.add_row(name, *[NOTHING] * 4)
            continue
        bare, whole = min(each[1] for each in found), min(each[2] for each in found)
        cells = f"{found[0][0] / 1e6:.0f}", f"{bare:.2f}", f"{whole:.2f}", f"{whole / (3 * bare + 2):.2f}"
        table.add_row(name, *cells)
    console.print(table)


def _measured(*pair: str) -> list[float]:
    """Parameters, seconds of both forwards, and those of the comparison; empty if a library is missing."""
    command = [sys.executable, "-W", "ignore", "-c", COMPARED, *pair]
    lines = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    return next(([*map(float, line.split()[1:])] for line in reversed(lines) if line.startswith("took ")), [])


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
