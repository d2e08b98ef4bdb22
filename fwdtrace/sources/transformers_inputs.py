"""What a model of transformers wants to be called with, as `--input` texts: read off its config and its `forward`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

TOKENS = 16
FIRST_TOKEN = 3
"""Below are the ids that most models give a meaning to: the begin, the end, padding."""
SAMPLES = 16_000
"""A second of sound."""
FRAMES = 128

_PARTS = ("vision_config", "backbone_config", "audio_config", "speech_config", "encoder", "encoder_config")


def inputs_for(module: nn.Module, config: Any) -> tuple[str, ...]:
    """One `NAME=SHAPE` for each argument that `forward` needs."""
    parameters = inspect.signature(module.forward).parameters
    texts = {name: text(config) for name in _wanted(module, config, list(parameters)) if (text := _TEXTS.get(name))}
    return tuple(f"{name}={text}" for name, text in texts.items() if text)


def _wanted(module: nn.Module, config: Any, parameters: list[str]) -> list[str]:
    """The names of the arguments: the main one, and what this kind of model takes with it."""
    main = str(getattr(module, "main_input_name", parameters[0]))
    wanted = [main if main in parameters else parameters[0]]
    signature = inspect.signature(module.forward).parameters.values()
    wanted += [each.name for each in signature if each.default is each.empty and each.name in _TEXTS]
    two_kinds = hasattr(config, "text_config") and _find(config, ("image_token_id", "image_token_index")) is None
    if two_kinds or "input_ids" in wanted:
        if _vocabulary(config) and two_kinds:
            wanted.append("input_ids")
        if two_kinds and (hasattr(config, "vision_config") or hasattr(config, "audio_config")):
            wanted += ["pixel_values", "input_features"]
    # A mask of ones is what a model assumes without one, and what it looks at; a meta tensor has nothing to look at.
    if "input_ids" in wanted and torch.get_default_device().type != "meta":
        wanted.append("attention_mask")
    if getattr(config, "is_encoder_decoder", False):
        wanted.append("decoder_input_ids")
    return [name for name in dict.fromkeys(wanted) if name in parameters]


def _find(config: Any, names: tuple[str, ...]) -> Any:
    """The first of these settings that the config, or the config of a part that is no text, has."""
    for part in (*(getattr(config, part, None) for part in _PARTS), config):
        for name in names:
            value = getattr(part, name, None)
            if value is not None:
                return value
    return None


def _vocabulary(config: Any) -> int | None:
    texts = config.get_text_config()
    size = getattr(texts, "vocab_size", None) or getattr(config, "vocab_size", None)
    return size if isinstance(size, int) else None


def _tokens(config: Any) -> str:
    vocabulary = _vocabulary(config) or 2
    low = FIRST_TOKEN if vocabulary > 2 * FIRST_TOKEN else 0
    settings = {**config.to_dict(), **config.get_text_config().to_dict()}
    marks = [
        value
        for name, value in settings.items()
        if name.endswith(("token_id", "token_index")) and isinstance(value, int) and value > 2 * FIRST_TOKEN
    ]
    return f"1x{TOKENS}:int64:{low}..{min([vocabulary, *marks])}"


def _mask(config: Any) -> str:
    return f"1x{TOKENS}:int64:1..2"


def _boxes(config: Any) -> str:
    return f"1x{TOKENS}x4:int64:0..1"


def _image(config: Any) -> str:
    size = _find(config, ("image_size", "img_size", "input_size")) or 224
    if isinstance(size, dict):
        size = (size.get("height", 224), size.get("width", 224))
    height, width = (size, size) if isinstance(size, int) else tuple(size)[-2:]
    channels = _find(config, ("num_channels", "in_channels", "in_chans", "num_image_channels")) or 3
    frames = _find(config, ("num_frames",))
    clip = f"{frames}x" if isinstance(frames, int) else ""
    return f"1x{clip}{channels}x{height}x{width}"


def _sound(config: Any) -> str:
    bins, length = _find(config, ("num_mel_bins",)), _find(config, ("max_length",))
    return f"1x{length}x{bins}" if bins and isinstance(length, int) and length > bins else f"1x{SAMPLES}"


def _spectrogram(config: Any) -> str:
    bins = _find(config, ("num_mel_bins", "input_feat_per_channel", "feature_projection_input_dim", "mel_bins")) or 80
    positions = getattr(config, "max_source_positions", None) or _find(config, ("max_source_positions",))
    if getattr(config, "model_type", "") == "whisper" or (positions and positions <= 1500):
        return f"1x{bins}x{2 * positions}"
    return f"1x{FRAMES}x{bins}"


_TEXTS: dict[str, Callable[[Any], str]] = {
    "input_ids": _tokens,
    "attention_mask": _mask,
    "bbox": _boxes,
    "decoder_input_ids": _tokens,
    "pixel_values": _image,
    "input_values": _sound,
    "input_features": _spectrogram,
}
