"""The options that several commands take, each written once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

Spec = Annotated[str, typer.Argument(metavar="SPEC", help="A built-in name, file.py:Name or package.module:Name.")]
Input = Annotated[
    list[str] | None,
    typer.Option(
        "-i",
        "--input",
        metavar="INPUT",
        help="1x3x32x32, NAME=SHAPE, SHAPE:int64:0..100, or a .pt, .npy or .safetensors file; repeatable.",
    ),
]
Seed = Annotated[int, typer.Option(metavar="N", min=0, max=2**32 - 1, help="The seed of weights and inputs.")]
Depth = Annotated[int | None, typer.Option(metavar="N", min=0, help="Show calls down to depth N only.")]
NoFold = Annotated[bool, typer.Option("--no-fold", help="Show every one of a row of equal blocks.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON, and nothing else.")]
Output = Annotated[
    list[Path] | None,
    typer.Option("-o", "--output", metavar="FILE", help="Save it; the suffix picks the format; repeatable."),
]
Trust = Annotated[bool, typer.Option("--trust", help="Open a .pt2 file that would run code, such as a pickle.")]
MaxBytes = Annotated[
    int, typer.Option(metavar="N", min=0, help="Keep at most N bytes of values; beyond, digests and statistics.")
]
Source = Annotated[bool, typer.Option("--source", help="Show the code, with the shapes beside each line.")]
Key = Literal["time", "self-time", "flops", "parameters", "memory"]
Sort = Annotated[
    Key | None,
    typer.Option(metavar="KEY", help="Rank the modules by this, as a table."),
]
Top = Annotated[int, typer.Option(metavar="N", min=1, help="With --sort: how many modules to show.")]
