"""`torchvision:NAME`: a model of torchvision with random weights, and images of the size it was trained with."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from functools import partial
from typing import Any

from torch import nn

from fwdtrace.errors import SpecError
from fwdtrace.models.sources.libraries import built, library
from fwdtrace.models.spec import nearest

FRAMES = 16
"""The length of a clip for a video model: the length it was trained with."""


def load(name: str, /, *args: Any, **kwargs: Any) -> tuple[nn.Module, tuple[str, ...]]:
    """Build a model by its name in `torchvision.models.list_models()`; the keywords are those of its builder."""
    models = library("torchvision.models")
    known = models.list_models()
    if name not in known:
        near = nearest(name, known)
        raise SpecError(f"torchvision has no model {name!r}{near}; `fwdtrace models --source torchvision` lists them")
    for option in ("weights", "weights_backbone", "pretrained"):
        if kwargs.pop(option, None):
            raise SpecError(f"torchvision:{name}: {option} would be downloaded; leave it off, --weights reads a file")
    if "weights_backbone" in inspect.signature(models.get_model_builder(name)).parameters:
        kwargs["weights_backbone"] = None  # else it is downloaded
    module = built(f"torchvision:{name}", partial(models.get_model_builder(name), *args, weights=None, **kwargs))
    return module, _inputs(module, models.get_model_weights(name).DEFAULT.transforms)


def names() -> Iterable[str]:
    """All models of torchvision."""
    return list(library("torchvision.models").list_models())


def _inputs(module: nn.Module, transforms: Any) -> tuple[str, ...]:
    """The shape of an image, or clip, after the transforms that belong to the model's weights."""
    preset = getattr(transforms, "func", transforms).__name__
    sizes = getattr(transforms, "keywords", {})
    if preset == "OpticalFlow":
        return ("1x3x128x128", "1x3x128x128")
    if preset == "VideoClassification":
        height, width = sizes["crop_size"]
        return (f"1x3x{FRAMES}x{height}x{width}",)
    side = {"SemanticSegmentation": 520, "ObjectDetection": 320}.get(preset)
    side = side or getattr(module, "image_size", None) or sizes["crop_size"]
    return (f"1x3x{side}x{side}",)
