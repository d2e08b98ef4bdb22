"""`timm:NAME`: a model of timm with random weights, and an image of the size in its default configuration."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from torch import nn

from fwdtrace.errors import SpecError
from fwdtrace.models.sources.libraries import built, library
from fwdtrace.models.spec import nearest


def load(name: str, /, **kwargs: Any) -> tuple[nn.Module, tuple[str, ...]]:
    """Build a model by its name in `timm.list_models()`, with or without a tag; the keywords are `create_model`'s."""
    timm = library("timm")
    if ":" in name or not timm.is_model(name.partition(".")[0]):
        near = nearest(name, timm.list_models())
        raise SpecError(f"timm has no model {name!r}{near}; `fwdtrace models --source timm` lists them")
    if kwargs.pop("pretrained", False):
        raise SpecError(f"timm:{name}: pretrained weights would be downloaded; leave it off, --weights reads a file")
    module = built(f"timm:{name}", partial(timm.create_model, name, pretrained=False, **kwargs))
    return module, (_image(module, kwargs),)


def names() -> Iterable[str]:
    """All models of timm."""
    return list(library("timm").list_models())


def _image(module: nn.Module, kwargs: dict[str, Any]) -> str:
    config: Any = getattr(module, "pretrained_cfg", None) or getattr(module, "default_cfg", None) or {}
    channels, height, width = config.get("input_size") or (3, 224, 224)
    channels = kwargs.get("in_chans", channels)
    size = kwargs.get("img_size") or (height, width)
    height, width = (size, size) if isinstance(size, int) else size
    return f"1x{channels}x{height}x{width}"
