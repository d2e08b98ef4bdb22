"""Ten real models on the screen, at three widths, plain and with all numbers, as files that a test holds.

`python -m tests.helpers.screens [NAME...]` writes them anew, for a person to read before they are committed.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from tests.torchvision_shim import sitecustomize  # noqa: F401  (imported for what it installs)

from fwdtrace.render.tree import tree_text  # isort: skip
from fwdtrace.run.once import Measures, RunPlan, prepare, run_once
from fwdtrace.trace import Trace

FOLDER = Path(__file__).parents[1] / "cli" / "screens"
WIDTHS = (80, 120, 200)
SMALL = "num_hidden_layers=2, hidden_size=64, num_attention_heads=4"
TEXT = ("1x8:int64:0..100",)
MODELS: dict[str, tuple[str, tuple[str, ...]]] = {
    "lenet": ("lenet", ()),
    "resnet50": ("torchvision:resnet50", ("1x3x64x64",)),
    "mobilenet_v3": ("torchvision:mobilenet_v3_small", ("1x3x64x64",)),
    "vit_b_16": ("torchvision:vit_b_16", ()),
    "convnext": ("timm:convnext_atto", ("1x3x64x64",)),
    "mobilevit": ("timm:mobilevit_xxs", ("1x3x64x64",)),
    "llama": (f"transformers:llama({SMALL}, num_key_value_heads=2, intermediate_size=96, vocab_size=100)", TEXT),
    "bert": (f"transformers:bert({SMALL}, intermediate_size=96, vocab_size=100)", TEXT),
    "gpt2": ("transformers:gpt2(n_layer=2, n_embd=64, n_head=4, vocab_size=100)", TEXT),
    "t5": (
        "transformers:t5(num_layers=2, d_model=64, d_kv=16, num_heads=4, d_ff=96, vocab_size=100)",
        ("input_ids=1x8:int64:0..100", "decoder_input_ids=1x4:int64:0..100"),
    ),
}
_DURATION = re.compile(r"\b[\d.]+ (µs|ms|s)\b")


WAYS = {"plain": Measures(), "with --stats --costs --backward": Measures(stats=True, costs=True, backward=True)}


def traces_of(name: str, *ways: str) -> dict[str, Trace]:
    """The model run in each of these ways."""
    spec, inputs = MODELS[name]
    traces = {}
    for way in ways:
        plan = RunPlan(spec, inputs, measures=WAYS[way])
        ran = run_once(plan, prepare(plan))
        assert ran.error is None, ran.error
        traces[way] = ran.trace
    return traces


def screens_of(traces: dict[str, Trace]) -> str:
    """All screens, one below the other, with every duration as `… ms`."""
    shown = []
    for way, trace in traces.items():
        for width in WIDTHS:
            text = _DURATION.sub("… ms", tree_text(trace, width=width))
            shown.append(f"=== {way}, {width} columns ===\n\n{text}\n")
    return "\n".join(shown)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for each in sys.argv[1:] or MODELS:
        FOLDER.joinpath(f"{each}.txt").write_text(screens_of(traces_of(each, *WAYS)), encoding="utf-8")
        print(each, flush=True)
