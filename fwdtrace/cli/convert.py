"""`fwdtrace convert`: the checkpoint of one model as that of another, by a map that `compare --save-map` wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from fwdtrace.cli.declared import argument, option
from fwdtrace.cli.terminal import to_stderr
from fwdtrace.run.cold_start import import_torch


def convert(
    checkpoint: Annotated[Path, argument(metavar="CHECKPOINT", help="Weights of the first model.")],
    map: Annotated[Path, option(metavar="FILE", help="The map that compare --save-map wrote.")],
    output: Annotated[
        Path, option("-o", "--output", metavar="FILE", help="The weights of the second, .safetensors or .pt.")
    ],
) -> None:
    """Write the weights of one model as those of another.

    Which weight becomes which is in a map that compare --save-map has proved and written.

    Example: fwdtrace convert original.safetensors --map map.json -o port.safetensors
    """
    import_torch()
    from fwdtrace.run.convert import convert_checkpoint

    to_stderr(convert_checkpoint(checkpoint, map, output))
