"""A checkpoint and a map of weights -> the checkpoint of the other model."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from fwdtrace.compare.weight_map import read_map
from fwdtrace.compare.weights.weight_values import values_of
from fwdtrace.errors import FwdtraceError
from fwdtrace.models.weights import read_weights
from fwdtrace.trace.files import replacing
from fwdtrace.trace.text import first_few, plural

MOST_NAMED = 3


def convert_checkpoint(checkpoint: Path, map_file: Path, output: Path) -> str:
    """Write the weights, and say in words how many, and which of the second model the map does not make.

    FwdtraceError if a file cannot be read, or the checkpoint lacks a weight that the map needs.
    """
    if output.suffix not in (".safetensors", ".pt", ".pth", ".bin"):
        raise FwdtraceError(f"-o {output}: write a .safetensors, .pt, .pth or .bin file")
    weights, source = read_map(map_file), read_weights(checkpoint, "convert")
    needed = dict.fromkeys(name for move in weights.moves for piece in move.pieces for name in piece.names)
    missing = [name for name in needed if name not in source]
    if missing:
        names = first_few(missing, MOST_NAMED)
        raise FwdtraceError(f"convert {checkpoint}: lacks {plural(len(missing), 'weight')} that the map needs: {names}")
    made = values_of(weights.moves, source, {move.target: move.shape for move in weights.moves})
    wrong = [move.target for move in weights.moves if move.target not in made]
    if wrong:
        raise FwdtraceError(
            f"convert {checkpoint}: has other shapes than the map is for: {first_few(wrong, MOST_NAMED)}"
        )
    _write({name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in made.items()}, output)
    text = f"{plural(len(made), 'weight')} written to {output}"
    return text + (f"; not in the map: {first_few(list(weights.left), MOST_NAMED)}" if weights.left else "")


def _write(state: dict[str, Tensor], output: Path) -> None:
    with replacing(output) as path:
        if output.suffix != ".safetensors":
            torch.save(state, path)
            return
        try:
            from safetensors.torch import save_file
        except ImportError:
            raise FwdtraceError(
                f"-o {output}: needs safetensors; run `pip install safetensors`, or write a .pt"
            ) from None
        save_file(state, path)
