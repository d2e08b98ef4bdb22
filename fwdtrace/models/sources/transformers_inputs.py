"""The `--input` texts that suit a model of transformers, worked out from its config and the signature of `forward`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

TOKENS = 16
FIRST_TOKEN = 3
"""The lowest token id of a random text: most models give the ids below a meaning, such as begin, end or padding."""
SAMPLES = 16_000
"""The length of a sound in samples, one second."""
FRAMES = 128
"""The length of a spectrogram in frames."""

_IMAGE_TOKENS = ("image_token_id", "image_token_index", "boi_token_id")
_SOUND_TOKENS = ("audio_token_id", "audio_token_index")


def inputs_for(module: nn.Module, config: Any) -> tuple[str, ...]:
    """One `NAME=SHAPE` for each argument that `forward` needs, as far as the config tells what it is."""
    forward = inspect.signature(module.forward).parameters
    required = [name for name, parameter in forward.items() if parameter.default is parameter.empty]
    wanted = [str(getattr(module, "main_input_name", "")), *required, *_companions(config, forward)]
    if "input_ids" not in wanted or torch.get_default_device().type == "meta":
        # Without a mask a model assumes ones; with one it reads the values, which a meta tensor does not have.
        wanted = [name for name in wanted if name != "attention_mask"]
    names = [name for name in dict.fromkeys(wanted) if name in forward and name in _TEXTS]
    names = names or [name for name in forward if name in _TEXTS][:1]
    return tuple(f"{name}={_TEXTS[name](config)}" for name in names)


def _companions(config: Any, forward: Any) -> Iterator[str]:
    """The arguments that a model needs besides the main one, though they have a default in `forward`."""
    yield "attention_mask"
    yield "bbox"
    if getattr(config, "is_encoder_decoder", False):
        yield "decoder_input_ids"
    # A model whose text holds a special token for each image runs on text alone; others need text and image.
    marks = _has(config, _IMAGE_TOKENS)
    sees = hasattr(config, "vision_config") and not marks
    hears = hasattr(config, "audio_config") and not _has(config, _SOUND_TOKENS)
    if hasattr(config, "text_config") and (sees or hears):
        yield "input_ids"
    if sees or (hasattr(config, "image_size") and not hasattr(config, "vision_config") and not marks):
        yield "pixel_values"
    if hears:
        yield "input_features"


def _has(config: Any, names: tuple[str, ...]) -> bool:
    return any(isinstance(getattr(config, name, None), int) for name in names)


def _find(config: Any, *names: str) -> Any:
    """The first of these settings: first in the configs of the parts that are not text, then in the config itself."""
    parts = (getattr(config, part, None) for part in getattr(config, "sub_configs", {}) if "text" not in part)
    for part in (*parts, getattr(config, "encoder", None)):
        value = _find(part, *names) if part is not None and hasattr(part, "to_dict") else None
        if value is not None:
            return value
    return next((value for name in names if (value := getattr(config, name, None)) is not None), None)


def _tokens(config: Any) -> str:
    texts = config.get_text_config()
    vocabulary = getattr(texts, "vocab_size", None) or getattr(config, "vocab_size", None)
    vocabulary = vocabulary if isinstance(vocabulary, int) else 2
    low = FIRST_TOKEN if vocabulary > 2 * FIRST_TOKEN else 0
    settings = {**config.to_dict(), **texts.to_dict()}
    marks = [
        value
        for name, value in settings.items()
        if name.endswith(("token_id", "token_index")) and isinstance(value, int) and value > 2 * FIRST_TOKEN
    ]
    return f"1x{TOKENS}:int64:{low}..{min([vocabulary, *marks])}"


def _ones(_: Any) -> str:
    return f"1x{TOKENS}:int64:1..2"


def _boxes(_: Any) -> str:
    return f"1x{TOKENS}x4:int64:0..1"


def _image(config: Any) -> str:
    size = _find(config, "image_size", "img_size", "input_size", "crop_size") or 224
    if isinstance(size, dict):
        size = (size.get("height", 224), size.get("width", 224))
    height, width = (size, size) if isinstance(size, int) else tuple(size)[-2:]
    channels = _find(config, "num_channels", "in_channels", "in_chans", "num_image_channels") or 3
    frames = _find(config, "num_frames")
    return f"1x{f'{frames}x' if isinstance(frames, int) else ''}{channels}x{height}x{width}"


def _video(config: Any) -> str:
    frames = _find(config, "frames_per_clip", "num_frames") or 16
    return f"1x{frames}x{_find(config, 'in_chans', 'num_channels') or 3}x" + "x".join(_image(config).split("x")[-2:])


def _sound(config: Any) -> str:
    bins, length = _find(config, "num_mel_bins"), _find(config, "max_length")
    if bins and isinstance(length, int) and length > bins:
        return f"1x{length}x{bins}"
    is_codec = _find(config, "codebook_size", "audio_channels") is not None
    return f"1x{_find(config, 'audio_channels') or 1}x{SAMPLES}" if is_codec else f"1x{SAMPLES}"


def _spectrogram(config: Any) -> str:
    bins = _find(config, "feature_projection_input_dim", "input_feat_per_channel", "num_mel_bins", "mel_bins")
    bins = bins or _find(config, "input_dim") or 80
    if _find(config, "enable_fusion") is not None:
        return f"1x1x1001x{bins}"
    positions = _find(config, "max_source_positions")
    if positions and positions <= 1500:  # as for Whisper: two frames for each position
        return f"1x{bins}x{2 * positions}"
    return f"1x{FRAMES}x{bins}"


def _spectrogram_mask(config: Any) -> str:
    return f"1x{max(int(size) for size in _spectrogram(config).split('x'))}:int64:1..2"


def _series(config: Any) -> str:
    channels = _find(config, "num_input_channels")
    return f"1x{_find(config, 'context_length') or 64}" + (f"x{channels}" if channels else "")


_TEXTS: dict[str, Callable[[Any], str]] = {
    "input_ids": _tokens,
    "attention_mask": _ones,
    "bbox": _boxes,
    "decoder_input_ids": _tokens,
    "pixel_values": _image,
    "pixel_values_videos": _video,
    "input_values": _sound,
    "input_features": _spectrogram,
    "input_features_mask": _spectrogram_mask,
    "past_values": _series,
}
