"""A call of a program's model, written so that it can be made again elsewhere: JSON and safetensors, no pickle."""

from __future__ import annotations

import ast
import contextlib
import inspect
import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fwdtrace.errors import FwdtraceError
from fwdtrace.models.randomness import RandomState, random_state
from fwdtrace.models.spec import Inputs
from fwdtrace.trace.files import replacing, write_text

FORMAT = "fwdtrace.capsule/1"
TENSORS = "step.safetensors"

_MADE_AGAIN: dict[str, Callable[[Any], Any]] = {
    "float": float,
    "dtype": lambda name: getattr(torch, name),
    "device": torch.device,
    "set": set,
    "frozenset": frozenset,
    "Size": torch.Size,
    "slice": lambda parts: slice(*parts),
    "range": lambda parts: range(*parts),
}
"""How a value is made again from what was written of it, by the name of its kind."""


@dataclass
class _Writer:
    """The tensors so far by name, each once, and what cannot be written."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    _names: dict[int, str] = field(default_factory=dict)

    def plain(self, value: Any, name: str) -> Any:
        """The value as JSON, its tensors named."""
        if value is None or isinstance(value, bool | int | str):
            return value if type(value) in (type(None), bool, int, str) else self._unwritten(value, name)
        if type(value) is float:
            return value if math.isfinite(value) else {"float": repr(value)}
        if type(value) in (list, tuple):
            items = [self.plain(item, f"{name}[{place}]") for place, item in enumerate(value)]
            return items if type(value) is list else {"tuple": items}
        if isinstance(value, dict) and all(type(key) in (str, int) for key in value):
            return {"dict": [[key, self.plain(item, f"{name}.{key}")] for key, item in value.items()]}
        if isinstance(value, Tensor):
            return self._tensor(value, name)
        if isinstance(value, torch.dtype | torch.device):
            return {type(value).__name__: str(value).removeprefix("torch.")}
        if type(value) in (set, frozenset, torch.Size):
            return {type(value).__name__: self.plain(list(value), name)}
        if type(value) in (slice, range):
            return {type(value).__name__: self.plain([value.start, value.stop, value.step], name)}
        return self._unwritten(value, name)

    def _tensor(self, tensor: Tensor, name: str) -> Any:
        if type(tensor) not in (Tensor, nn.Parameter) or tensor.layout is not torch.strided or tensor.is_meta:
            return self._unwritten(tensor, name)
        known = self._names.setdefault(id(tensor), name)
        if known == name:
            self.tensors[name] = tensor.detach().to("cpu", copy=True).contiguous()
        return {"tensor": known, "requires_grad": tensor.requires_grad and not isinstance(tensor, nn.Parameter)}

    def _unwritten(self, value: Any, name: str) -> Any:
        kind = type(value)
        self.left_out.append(f"{name}: a {kind.__module__}.{kind.__qualname__}")
        return {"left_out": f"{kind.__module__}.{kind.__qualname__}"}


def save_capsule(
    folder: Path,
    module: nn.Module,
    call: Mapping[str, Any],
    random: RandomState,
    buffers: Sequence[tuple[Tensor, Tensor]] = (),
    gradients: Sequence[Tensor | None] | None = None,
    optimizer: Any = None,
    wrong: str | None = None,
) -> list[str]:
    """Write a call of a module into a folder: what cannot be written is returned, and noted in the file.

    `call` has its `entry`, `args` and `kwargs`, and the modes of torch: `grad`, and `autocast` as (kind, on, dtype).
    `buffers` are those that the call has changed since, each with what it was. `gradients` came to what it returned.
    `wrong` is what was not finite, if that is known: its "output", or the "gradients" that its backward made.
    """
    from safetensors.torch import save_file

    writer = _Writer()
    before = {id(buffer): value for buffer, value in buffers}
    state = {**dict(module.named_parameters(remove_duplicate=False)), **dict(module.named_buffers())}
    named = {name: before.get(id(tensor), tensor) for name, tensor in state.items()}
    document = {
        "format": FORMAT,
        "versions": {"torch": torch.__version__, "python": sys.version.split()[0]},
        "model": {
            "class": f"{type(module).__module__}.{type(module).__qualname__}",
            "spec": spec_of(module),
            "state": [[name, writer.plain(tensor, f"model.{name}")] for name, tensor in named.items()],
            "training": [name for name, each in module.named_modules() if each.training],
        },
        "call": {
            "entry": call["entry"],
            "args": writer.plain(tuple(call["args"]), "args"),
            "kwargs": writer.plain(dict(call["kwargs"]), "kwargs"),
            "grad": call["grad"],
            "autocast": [[kind, on, str(dtype).removeprefix("torch.")] for kind, on, dtype in call["autocast"]],
        },
        "gradients": writer.plain(list(gradients), "gradients") if gradients is not None else None,
        "random": {
            "python": writer.plain(random.python, "random.python"),
            "torch": writer.plain(random.cpu, "random.torch"),
            "numpy": _numpy(random, writer),
            "devices": [
                [kind.__name__, writer.plain(list(states), f"random.{kind.__name__}")]
                for kind, states in random.devices
            ],
        },
        "optimizer": _optimizer(optimizer, writer),
        "wrong": wrong,
        "left_out": writer.left_out,
    }
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / TENSORS) as path:
        save_file(writer.tensors, path)
    write_text(folder / "capsule.json", json.dumps(document, allow_nan=False) + "\n")
    return writer.left_out


def _numpy(random: RandomState, writer: _Writer) -> Any:
    if random.numpy is None:
        return None
    name, keys, *rest = random.numpy
    return writer.plain([name, keys.tolist(), *rest], "random.numpy")


def _optimizer(optimizer: Any, writer: _Writer) -> Any:
    if optimizer is None:
        return None
    kind = type(optimizer)
    state = optimizer.state_dict()
    return {"class": f"{kind.__module__}.{kind.__qualname__}", "state": writer.plain(state, "optimizer")}


def spec_of(module: nn.Module) -> str | None:
    """How to name the model so that it is built again; None if its class takes arguments, or cannot be imported.

    One that takes any number of them, as `nn.Sequential` does, is built from them.
    """
    cls = type(module)
    try:
        parameters = list(inspect.signature(cls).parameters.values())
        file = inspect.getfile(cls)
    except (TypeError, ValueError, OSError):
        return None
    needed = [each for each in parameters if each.default is each.empty and each.kind is not each.VAR_KEYWORD]
    if needed or "<" in cls.__qualname__:
        return None
    if cls.__module__ != "__main__":
        return f"{cls.__module__}:{cls.__qualname__}"
    return f"{Path(file).absolute()}:{cls.__qualname__}" if _can_be_imported(Path(file)) else None


def with_arguments(spec: str | None) -> str:
    """How to name a model that is built with arguments, which a user has to fill in."""
    return f"'{spec}(…)'" if spec is not None else "SPEC"


def takes_arguments(module: nn.Module) -> bool:
    """Whether the class of a model that `spec_of` names can be built with arguments, so that it may be another."""
    return bool(inspect.signature(type(module)).parameters)


def _can_be_imported(script: Path) -> bool:
    """Whether a script says itself what it runs only as a program."""
    try:
        body = ast.parse(script.read_text(encoding="utf-8")).body
    except (OSError, SyntaxError, ValueError):
        return False
    return any(isinstance(each, ast.If) and "__name__" in ast.unparse(each.test) for each in body)


@dataclass(frozen=True)
class Capsule:
    """A call that was written, read back."""

    file: Path
    spec: str | None
    class_name: str
    state: dict[str, Tensor]
    training: frozenset[str]
    inputs: Inputs
    entry: str
    grad: bool
    autocast: tuple[tuple[str, bool, torch.dtype], ...]
    gradients: list[Tensor | None] | None
    random: RandomState
    wrong: str | None

    def load_into(self, module: nn.Module) -> None:
        """Give a module the weights, buffers and modes of the one that was called; FwdtraceError if they do not fit."""
        own = {**dict(module.named_parameters(remove_duplicate=False)), **dict(module.named_buffers())}
        other = [name for name in own if name not in self.state or self.state[name].shape != own[name].shape]
        other += [name for name in self.state if name not in own]
        if other:
            raise FwdtraceError(
                f"{self.file}: is of another model, a {self.class_name}: {other[0]} does not fit; name that one: "
                f"fwdtrace run {with_arguments(self.spec)} --capsule {self.file}"
            )
        with torch.no_grad():
            for name, tensor in own.items():
                tensor.data = self.state[name].to(tensor.device)
        for name, each in module.named_modules():
            each.training = name in self.training

    @contextlib.contextmanager
    def as_then(self) -> Iterator[None]:
        """Have the random states and modes of torch of then in the block."""
        before = random_state()
        with contextlib.ExitStack() as stack:
            stack.callback(before.restore)
            self.random.restore()
            for kind, on, dtype in self.autocast:
                if on:
                    stack.enter_context(torch.autocast(kind, dtype))
            stack.enter_context(torch.set_grad_enabled(self.grad))
            yield


def read_capsule(file: Path) -> Capsule:
    """The call in a capsule; FwdtraceError if there is none, or if its arguments could not be written."""
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FwdtraceError(f"{file}: there is no such file; exec --save-step DIR writes DIR/capsule.json") from None
    except (OSError, ValueError) as error:
        raise FwdtraceError(f"{file}: cannot be read as a capsule ({type(error).__name__})") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise FwdtraceError(f"{file}: is no capsule; exec --save-step DIR writes DIR/capsule.json")
    from safetensors.torch import load_file

    try:
        tensors = load_file(file.with_name(TENSORS))
        return _capsule(file, document, tensors)
    except (ImportError, KeyError, TypeError, ValueError, AttributeError, OSError) as error:
        raise FwdtraceError(f"{file}: cannot be read: {type(error).__name__}: {error}") from None


def _capsule(file: Path, document: Any, tensors: dict[str, Tensor]) -> Capsule:
    model, call, random = document["model"], document["call"], document["random"]

    def value(plain: Any) -> Any:
        return _value(plain, tensors)

    needed = [each for each in document["left_out"] if each.startswith(("args", "kwargs", "model."))]
    if needed:
        raise FwdtraceError(f"{file}: the call cannot be made again, as this was not written: {needed[0]}")
    numpy = value(random["numpy"])
    if numpy is not None:
        numpy = (numpy[0], import_module("numpy").array(numpy[1], dtype="uint32"), *numpy[2:])
    return Capsule(
        file,
        model["spec"],
        model["class"],
        {name: value(plain) for name, plain in model["state"]},
        frozenset(model["training"]),
        Inputs(value(call["args"]), value(call["kwargs"])),
        call["entry"],
        call["grad"],
        tuple((kind, on, getattr(torch, dtype)) for kind, on, dtype in call["autocast"]),
        value(document["gradients"]),
        RandomState(value(random["python"]), numpy, value(random["torch"]), _devices(value(random["devices"]))),
        document.get("wrong"),
    )


def _devices(states: list[list[Any]]) -> tuple[tuple[Any, tuple[Tensor, ...]], ...]:
    """The random states of accelerators, as far as there are the same ones here."""
    found = ((import_module(name), tuple(each)) for name, each in states)
    return tuple(
        (module, each) for module, each in found if module.is_available() and module.device_count() == len(each)
    )


def _value(plain: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(plain, list):
        return [_value(item, tensors) for item in plain]
    if not isinstance(plain, dict):
        return plain
    if "tensor" in plain:
        tensor = tensors[plain["tensor"]]
        return tensor.clone().requires_grad_() if plain["requires_grad"] else tensor
    if "tuple" in plain:
        return tuple(_value(item, tensors) for item in plain["tuple"])
    if "dict" in plain:
        return {key: _value(item, tensors) for key, item in plain["dict"]}
    ((kind, parts),) = plain.items()
    if kind in _MADE_AGAIN:
        return _MADE_AGAIN[kind](_value(parts, tensors))
    return None
