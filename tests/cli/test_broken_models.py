"""Broken models from end to end: what `fwdtrace run` names, saves and prints of a crash, with nothing of ours in it."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import pytest

from fwdtrace import load_trace
from tests.helpers import broken_models
from tests.helpers.commands import Command

BROKEN = [
    (
        "WrongFeatures", "1x3x32x32", "head",
        "head (Linear) expects 400 features, got 3136 = 16×14×14 of F.relu; given input 1×3136 from torch.flatten,"
        " weight 10×400, bias 10; set in_features=3136 in head (tried: the model then gives 1×10), or give the model x"
        " of 1×3×14×14 (tried: the model then gives 1×10)",
    ),
    (
        "WrongChannels", "1x3x32x32", "layers.3",
        "layers.3 (Conv2d) expects 16 channels, got 8; given input 1×8×30×30 from layers.2, weight 32×16×3×3, bias"
        " 32; set in_channels=8 in layers.3 (tried: the model then gives 1×32×28×28), or set out_channels=16 in"
        " layers.0 and num_features=16 in layers.1 (tried: the model then gives 1×32×28×28)",
    ),
    (
        "NotTransposed", "2x5x8", "",
        "@ in the model (NotTransposed) cannot multiply 2×5×8 by 2×5×8: the inner sizes are 8 and 5; given 2×5×8 from"
        " query, 2×5×8 from key; apply .transpose(-2, -1) to the second operand of @ in line 46, which is 2×8×5"
        " (tried: the model then gives 2×5×5)",
    ),
    (
        "UnevenSkip", "1x3x15x15", "",
        "torch.cat in the model (UnevenSkip) joins along dimension 1 and needs the others equal, got 15 and 14 in"
        " dimension 2 and 15 and 14 in dimension 3; given 1×3×15×15 (the argument x), 1×8×14×14 from up; resize the"
        " second operand of torch.cat in line 59, F.interpolate(x, size=(15, 15)) (tried: the model then gives"
        " 1×11×15×15)",
    ),
    (
        "WrongView", "1x3x9x9", "",
        "Tensor.view in the model (WrongView) cannot give 400 = 1×16×5×5 elements the shape (-1, 256): 400 is no"
        " multiple of 256; given 1×16×5×5 from conv; call Tensor.view in line 71 with (x.shape[0], -1) (tried: the"
        " model then gives 1×400), or give the model x of 1×3×8×8 (tried: the model then gives 1×256)",
    ),
    (
        "WrongResidual", "2x8", "",
        "+ in the model (WrongResidual) cannot broadcast x 2×8 with 2×9: 8 and 9 in the last dimension; given 2×8"
        " (the argument x), 2×9 from torch.tanh; set out_features=8 in up (tried: the model then gives 2×8)",
    ),
    (
        "WrongNorm", "1x3x8x8", "block.norm",
        "block.norm (BatchNorm2d) expects 16 channels in dimension 1, got 8; given input 1×8×6×6 from block.conv,"
        " weight 16, bias 16, running_mean 16, running_var 16; set num_features=8 in block.norm (tried: the model then"
        " gives 1×8×6×6), or set out_channels=16 in block.conv (tried: the model then gives 1×16×6×6)",
    ),
    (
        "IndexOutside", "1x3:int64:0..10", "tokens",
        "tokens (Embedding) has 10 rows, so indices run from 0 to 9; got 19, at input[0, 1]; given input 1×3 int64"
        " from +, weight 10×4; set num_embeddings=20 in tokens or more (tried: the model then gives 1×3×4)",
    ),
    (
        "WrongDtype", "2x4:int64:0..10", "head",
        "head (Linear) expects float32, as its parameters are, got int64; given input 2×4 int64 (the argument ids),"
        " weight 2×4, bias 2; give the model ids.to(torch.float32) (tried: the model then gives 2×2)",
    ),
    (
        "HalfConverted", "2x4", "second",
        "second (Linear) expects bfloat16, as its parameters are, got float32; given input 2×4 float32 from first,"
        " weight 4×4 bfloat16, bias 4 bfloat16; convert all of the module, second.to(torch.float32) (tried: the model"
        " then gives 2×4), or pass input.to(torch.bfloat16) to second (tried: the model then gives 2×4)",
    ),
    (
        "OnTwoDevices", "2x4", "second",
        "second (Linear) needs its tensors on one device, got cpu and meta; given input 2×4 on cpu from first, weight"
        " 4×4 on meta, bias 4 on meta; second has no data on meta: materialise it, .to_empty(device=…), and load its"
        " weights (not tried)",
    ),
    (
        "MissingArgument", "2x4", "decoder",
        "decoder (Decoder) was called without its argument memory; given x 2×4; pass memory (not tried)",
    ),
    (
        "CallsAList", "2x4", "blocks",
        "blocks (ModuleList) has no forward: it only holds modules; given input[0] 2×4 (the argument x); loop over"
        " its modules, or make it an nn.Sequential (not tried)",
    ),
    (
        "TakesATuple", "3x2x4", "head",
        "head (Linear) expects a tensor, got a tuple, as lstm (LSTM) returned; input[0] in it is 3×2×8; given"
        " input[0] 3×2×8 from lstm, input[1][0] 1×2×8 from lstm, input[1][1] 1×2×8 from lstm, weight 2×8, bias 2; pass"
        " input[0] to head (tried: the model then gives 3×2×2)",
    ),
    (
        "WrongSequence", "2x3:int64:0..10", "lstm",
        "lstm (GRU) expects 4 features, got 6; given input 2×3×6 from tokens, weight_ih_l0 24×4, weight_hh_l0 24×8,"
        " bias_ih_l0 24, bias_hh_l0 24; set input_size=6 in lstm (tried: the model then gives 2×3×8 and 1×2×8), or set"
        " embedding_dim=4 in tokens (tried: the model then gives 2×3×8 and 1×2×8)",
    ),
    (
        "WrongMask", "2x3x8", "attention",
        "attention (MultiheadAttention) expects attn_mask 3×3 (queries×keys), got 4×4; given query 2×3×8 (the"
        " argument x), key 2×3×8 (the argument x), value 2×3×8 (the argument x), attn_mask 4×4 bool from Tensor.bool,"
        " in_proj_weight 24×8, in_proj_bias 24",
    ),
    (
        "FunctionalChannels", "1x3x8x8", "",
        "F.conv2d in the model (FunctionalChannels) expects 1 channel, got 3; given 1×3×8×8 (the argument x), 6×1×3×3"
        " (the parameter weight); give the model x of 1×1×8×8 (tried: the model then gives 1×6×6×6)",
    ),
    (
        "TooSmall", "1x3x16x16", "pools.2",
        "pools.2 (MaxPool2d) would give 0×0 from 1×1: the input is smaller than its window; given input 1×3×1×1 from"
        " pools.1; give the model x of 1×3×64×64 (tried: the model then gives 1×3×1×1)",
    ),
    (
        "Wrapped", "2x4", "encoder.1",
        "encoder.1 (Linear) expects 9 features, got 8; given input 2×8 from encoder.0, weight 2×9, bias 2; the model"
        " then raised ValueError: the encoder does not take this; set in_features=8 in encoder.1 (tried: the model"
        " then gives 2×2), or set out_features=9 in encoder.0 (tried: the model then gives 2×2)",
    ),
    (
        "Retries", "2x4", "narrow",
        "narrow (Linear) expects 3 features, got 4; given input 2×4 from *, weight 2×3, bias 2; give the model x of"
        " 2×3 (tried: the model then gives 2×2), or set in_features=4 in narrow (tried: the model then gives 2×2)",
    ),
]  # fmt: skip


def line_that_breaks(name: str) -> int:
    """The number of the model's line that ends in `# here`."""
    lines, first = inspect.getsourcelines(getattr(broken_models, name))
    return first + next(number for number, line in enumerate(lines) if line.endswith("# here\n"))


@pytest.mark.parametrize(("name", "input", "path", "says"), BROKEN, ids=[case[0] for case in BROKEN])
def test_a_crash_is_named_with_its_module_its_line_and_its_numbers(
    command: Command, folder: Path, name: str, input: str, path: str, says: str
) -> None:
    ran = command("run", f"tests.helpers.broken_models:{name}", "-i", input, "-o", "t.json")
    assert ran.status == 2
    trace = load_trace(folder / "t.json")
    (finding,) = (finding for finding in trace.findings if finding.code == "FT006")
    assert finding.message == says
    assert finding.call is not None and trace.call(finding.call).path == path
    assert finding.site is not None and finding.site.file == broken_models.__file__
    assert finding.site.line == line_that_breaks(name)
    assert f"FT006 forward-error  broken_models.py:{finding.site.line}" in ran.out


@pytest.mark.parametrize("name", [case[0] for case in BROKEN])
def test_the_traceback_is_the_users_own(command: Command, folder: Path, name: str) -> None:
    input = next(case[1] for case in BROKEN if case[0] == name)
    ran = command("run", f"tests.helpers.broken_models:{name}", "-i", input)
    files = [line.split('"')[1] for line in ran.err.splitlines() if line.startswith("  File ")]
    assert broken_models.__file__ in files
    assert not [file for file in files if "/fwdtrace/" in file]


def test_json_is_written_to_stdout_all_the_same(command: Command, folder: Path) -> None:
    ran = command("run", "tests.helpers.broken_models:WrongFeatures", "-i", "1x3x32x32", "--json")
    assert ran.status == 2
    document = json.loads(ran.out)
    assert document["calls"][-1]["error"]["type"] == "RuntimeError"
    assert [finding["code"] for finding in document["findings"]] == ["FT006"]
