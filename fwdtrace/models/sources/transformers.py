"""`transformers:TYPE`, or the folder or file of a `config.json`: the model with random weights, and inputs for it.

The class of the model is the one that `architectures` in the config names. Without `architectures` it is the class with
the language model head for a text decoder, and the class without a head for every other model.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fwdtrace.errors import SpecError
from fwdtrace.models.sources.libraries import built, library, refuse_broken_torchvision
from fwdtrace.models.sources.transformers_inputs import inputs_for
from fwdtrace.models.spec import kind_on_the_hub, nearest


def load(name: str, /, **overrides: Any) -> tuple[nn.Module, tuple[str, ...]]:
    """Build a model by its type, or from a config on disk; the keywords override the settings of the config."""
    os.environ["HF_HUB_OFFLINE"] = "1"  # else a model may download the weights of its backbone
    library("transformers")
    try:
        return _load(name, overrides)
    except ImportError as error:  # transformers imports the file of a model only when it is used
        refuse_broken_torchvision(error)
        raise SpecError(f"transformers:{name}: {' '.join(str(error).split())[:200]}") from None


def names() -> Iterable[str]:
    """The model types that transformers has a config for."""
    return sorted(_configs())


def _load(name: str, overrides: dict[str, Any]) -> tuple[nn.Module, tuple[str, ...]]:
    config = _config(name, overrides)
    model_class = _model_class(name, config)

    def build() -> nn.Module:
        own = copy.deepcopy(config)  # a model writes into its config
        module = model_class._from_config(own)
        if torch.get_default_device().type == "meta" and module.dtype != torch.bfloat16:
            own._experts_implementation = "batched_mm"  # the usual one has no meta kernel for other types
        return module  # type: ignore[no-any-return]

    module = built(f"transformers:{name}", build)
    return module, inputs_for(module, module.config)


def _configs() -> Any:
    return library("transformers.models.auto.configuration_auto").CONFIG_MAPPING


def _config(name: str, overrides: dict[str, Any]) -> Any:
    path = Path(name).expanduser()
    if path.suffix == ".json" or path.is_dir():
        return _config_on_disk(name, path, overrides)
    known = _configs()
    if name not in known:
        near = nearest(name, known)
        of_hub = kind_on_the_hub(name, known)
        if of_hub is not None:
            raise SpecError(f"transformers has no model type {name!r}: {of_hub}")
        how = "name a type, or a folder with a config.json; `fwdtrace models --source transformers` lists the types"
        raise SpecError(f"transformers has no model type {name!r}{near}; {how}")
    return _made(name, known[name], {}, overrides)


def _config_on_disk(name: str, path: Path, overrides: dict[str, Any]) -> Any:
    file = path / "config.json" if path.is_dir() else path
    if not file.is_file():
        raise SpecError(f"there is no file {str(file)!r}; check the path")
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SpecError(f"{str(file)!r} cannot be read as JSON: {error}") from None
    kind = values.get("model_type") if isinstance(values, dict) else None
    if kind not in _configs():
        said = f"its model_type is {kind!r}" if kind else "it has no model_type"
        raise SpecError(f"{str(file)!r}: {said}, which this transformers has no model for; code beside it is not run")
    return _made(name, _configs()[kind], values, overrides)


def _made(name: str, config_class: Any, values: dict[str, Any], overrides: dict[str, Any]) -> Any:
    """A config with the overrides; lists with an entry for each layer are cut if the overrides ask for fewer layers."""
    try:
        config = config_class.from_dict(dict(values))
        unknown = next((key for key in overrides if not hasattr(config, key)), None)
        if unknown is not None:
            near = nearest(unknown, config.to_dict())
            raise SpecError(f"transformers:{name}: the config has no {unknown!r}{near}")
        layers, wanted = getattr(config, "num_hidden_layers", None), overrides.get("num_hidden_layers")
        if values and isinstance(layers, int) and isinstance(wanted, int) and wanted < layers:
            cut = {
                key: value[:wanted] for key, value in values.items() if isinstance(value, list) and len(value) == layers
            }
            values = {**values, **cut}
        merged = {
            key: {**values[key], **value} if isinstance(value, dict) and isinstance(values.get(key), dict) else value
            for key, value in overrides.items()
        }
        return config_class.from_dict({**values, **merged})
    except SpecError:
        raise
    except Exception as error:  # each config checks itself in its own way
        refuse_broken_torchvision(error)
        said = " ".join(str(error).split())[:200]
        raise SpecError(f"transformers:{name}: the config refuses this: {said}") from None


def _model_class(name: str, config: Any) -> Any:
    transformers = library("transformers")
    for architecture in config.architectures or ():
        if not hasattr(transformers, architecture):
            near = nearest(architecture, dir(transformers))
            raise SpecError(f"transformers:{name}: there is no class {architecture!r}{near}; set architectures=[…]")
        return getattr(transformers, architecture)
    auto = library("transformers.models.auto.modeling_auto")
    kind = type(config)
    writes_text = kind in auto.MODEL_FOR_CAUSAL_LM_MAPPING and kind not in auto.MODEL_FOR_MASKED_LM_MAPPING
    if writes_text and not config.is_encoder_decoder and config.get_text_config() is config:
        return auto.MODEL_FOR_CAUSAL_LM_MAPPING[kind]
    mappings = [getattr(auto, attribute) for attribute in sorted(dir(auto)) if attribute.endswith("_MAPPING")]
    classes = next((mapping[kind] for mapping in (auto.MODEL_MAPPING, *mappings) if kind in mapping), None)
    if classes is None:
        raise SpecError(
            f"transformers:{name}: is a part of other models, without a class of its own; name one of those"
        )
    return classes[0] if isinstance(classes, (tuple, list)) else classes
