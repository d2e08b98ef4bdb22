"""What the sources of libraries share: imports that may fail, and models that may not fit into memory."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
from torch import nn

from fwdtrace.errors import SpecError
from fwdtrace.models.memory import memory
from fwdtrace.models.meta import built_on_meta

MOST_OF_MEMORY = 0.8
"""The share of the memory that weights may take: the rest is for activations and for other programs."""


def library(name: str) -> Any:
    """Import an optional library; SpecError with the remedy if it is not installed or cannot be imported."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name == name.partition(".")[0]:
            extra = f"it comes with the extra fwdtrace[{error.name}]; run `pip install {error.name}`"
            raise SpecError(f"{error.name} is not installed; {extra}") from None
        raise _broken(error, name) from error
    except Exception as error:  # a library built for another torch may raise anything
        raise _broken(error, name) from error


def built(spec: str, build: Callable[[], nn.Module]) -> nn.Module:
    """Build a model of a library; SpecError if its weights would not fit into the memory of this machine.

    It is built on the meta device first, which costs no memory and gives its size.
    """
    if torch.get_default_device().type != "cpu":
        return build()
    on_meta = built_on_meta(build)
    needed = sum(tensor.numel() * tensor.element_size() for tensor in (*on_meta.parameters(), *on_meta.buffers()))
    if needed > MOST_OF_MEMORY * memory():
        sizes = f"its weights take {needed / 2**30:,.0f} GiB, and this machine has {memory() / 2**30:,.0f} GiB"
        raise SpecError(f"{spec}: {sizes}; use --device meta, which needs no memory, or make it smaller with arguments")
    return build()


def refuse_broken_torchvision(error: BaseException) -> None:
    """Raise a SpecError if what a library raised comes from a torchvision that was built for another torch."""
    cause: BaseException | None = error
    while cause is not None:
        if "operator torchvision::" in str(cause):
            wrong = f"torchvision is installed, but was not built for torch {torch.__version__} ({cause})"
            remedy = "install the torchvision that belongs to this torch, from the same index, or uninstall it"
            raise SpecError(f"{wrong}; {remedy}") from None
        cause = cause.__cause__ or cause.__context__


def _broken(error: Exception, name: str) -> SpecError:
    refuse_broken_torchvision(error)
    return SpecError(f"{name} is installed, but importing it raised; the traceback above is its own")
