"""Loading `--weights FILE` into a model: every name and shape must fit, and the error names those that do not."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fwdtrace.errors import FwdtraceError
from fwdtrace.trace.text import first_few, shape_text

MOST_NAMED = 3


def load_weights(module: nn.Module, file: Path) -> None:
    """Copy a state dict from a `.safetensors`, `.pt`, `.pth` or `.bin` file; FwdtraceError if it does not fit."""
    state = read_weights(file)
    own = module.state_dict()
    problems = [
        *_listed("missing", _missing(module, own, state)),
        *_listed("unexpected", [name for name in state if name not in own]),
        *_listed(
            "of another shape",
            [
                f"{name} is {shape_text(state[name].shape)} and not {shape_text(own[name].shape)}"
                for name in own
                if name in state and isinstance(own[name], Tensor) and state[name].shape != own[name].shape
            ],
        ),
    ]
    if problems:
        wrapped = all(name.startswith("module.") for name in state)
        remedy = "save model.module.state_dict() in place of model.state_dict()" if wrapped else "name its own model"
        raise FwdtraceError(f"--weights {file}: does not fit the model: {'; '.join(problems)}; {remedy}")
    with torch.no_grad():
        module.load_state_dict(state, strict=False)


def read_weights(file: Path, option: str = "--weights") -> dict[str, Tensor]:
    """The state dict in a file; FwdtraceError if there is none. `option` is what named the file."""
    if not file.is_file():
        raise FwdtraceError(f"{option} {file}: there is no such file; check the path")
    try:
        read = _read_safetensors(file) if file.suffix == ".safetensors" else _read_pickled(file)
    except FwdtraceError:
        raise
    except Exception as error:  # both libraries raise a dozen kinds on a file that is not their own
        said = type(error).__name__
        raise FwdtraceError(f"{option} {file}: cannot be read as weights ({said}); save a state_dict") from None
    return _state_in(file, read)


def _read_safetensors(file: Path) -> Any:
    try:
        from safetensors.torch import load_file
    except ImportError:
        needs = "a .safetensors file needs safetensors, which comes with the extra fwdtrace[safetensors]"
        raise FwdtraceError(f"--weights {file}: {needs}; run `pip install safetensors`") from None
    return load_file(file)


def _read_pickled(file: Path) -> Any:
    return torch.load(file, map_location="cpu", weights_only=True)


def _state_in(file: Path, read: Any) -> dict[str, Tensor]:
    """The state dict itself, or the only one in a checkpoint that also holds such things as the optimizer's state."""
    states = [read] if _is_state(read) else []
    if not states and isinstance(read, dict):
        states = [value for value in read.values() if _is_state(value)]
    if len(states) != 1:
        holds = f"{len(states)} dicts of tensors by name"
        if not states:
            holds = f"a {type(read).__name__} without tensors by name"
        raise FwdtraceError(f"--weights {file}: holds {holds}; save model.state_dict() alone")
    return dict(states[0])


def _is_state(value: Any) -> bool:
    return isinstance(value, dict) and bool(value) and all(isinstance(each, Tensor) for each in value.values())


def _missing(module: nn.Module, own: dict[str, Any], state: dict[str, Tensor]) -> list[str]:
    """The names that the file lacks; of a parameter with several names it needs only one."""
    parameters = dict(module.named_parameters(remove_duplicate=False))
    given = {id(parameters[name]) for name in state if name in parameters}
    optional = ("num_batches_tracked", "_extra_state")  # older versions of torch did not save these
    return [
        name
        for name in own
        if name not in state and not name.endswith(optional) and id(parameters.get(name)) not in given
    ]


def _listed(what: str, names: Iterable[str]) -> list[str]:
    named = list(names)
    if not named:
        return []
    return [f"{len(named)} {what} ({first_few(named, MOST_NAMED)})"]
