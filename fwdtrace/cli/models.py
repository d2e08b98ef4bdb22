"""`fwdtrace models`: the built-in models, one line each."""

from __future__ import annotations

import typer

from fwdtrace.zoo import BUILT_INS


def models() -> None:
    """List the built-in models.

    Example: fwdtrace models
    """
    width = max(len(model.name) for model in BUILT_INS)
    for model in BUILT_INS:
        typer.echo(f"{model.name:<{width}}  {model.summary}")
