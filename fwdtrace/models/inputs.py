"""From `--input` to the arguments of a call: the same for the same seed, without using torch's global random state."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from fwdtrace.errors import InputError
from fwdtrace.models.memory import memory
from fwdtrace.models.spec import Inputs as Inputs
from fwdtrace.models.spec import nearest

FORMS = "1x3x32x32, NAME=1x8, 1x8:float16, 1x8:int64:0..100, scalar, or a .pt, .npy or .safetensors file"
INTEGERS = (0, 2)
"""The range of integers without LOW..HIGH: 0 and 1 are valid as class, token or index of nearly every model."""

_FLOATS = ("float32", "float64", "float16", "bfloat16", "complex64", "complex128", "float8_e4m3fn", "float8_e5m2")
_INTEGERS = ("int64", "int32", "int16", "int8", "uint8", "uint16", "uint32", "uint64")
_DTYPES = (*_FLOATS, *_INTEGERS, "bool")


def build_inputs(
    specs: Sequence[str] | Inputs, module: nn.Module, seed: int, device: torch.device | None = None
) -> Inputs:
    """The arguments for `module` that the `--input` texts describe, on `device`, else on that of its parameters.

    `Inputs` are only moved to the device. Random floats are standard normal, integers are 0 or 1 unless a range
    LOW..HIGH (HIGH excluded) is given, bools are either. A shape without a dtype gets that of the module's parameters.
    InputError if a text is wrong, or if the arguments do not fit the signature of `forward`.
    """
    generator = torch.Generator().manual_seed(seed)
    own_device, dtype = _device_and_dtype(module)
    device = device or own_device
    if isinstance(specs, Inputs):
        return Inputs(_on(device, specs.args), _on(device, specs.kwargs))
    signature = _signature(module)
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for spec in specs:
        name, text = _split_name(spec)
        if name:
            _check_name(name, spec, signature)
        if name in kwargs:
            raise InputError(f"--input {spec}: {name!r} is given twice; give it once")
        value = _read(text) if _is_file(text) else _random(spec, text, dtype, generator)
        value = _on(device, value)
        if name:
            kwargs[name] = _alone(value) if text.endswith(".safetensors") else value
        elif isinstance(value, dict):
            if not all(isinstance(key, str) for key in value):
                raise InputError(f"--input {spec}: holds a dict whose keys are not all names; write NAME={spec}")
            _check_names_of_dict(value, spec, signature)
            kwargs.update(value)
        else:
            args.extend(value if isinstance(value, (tuple, list)) else (value,))
    _check_call(signature, args, kwargs)
    return Inputs(tuple(args), kwargs)


def _split_name(spec: str) -> tuple[str, str]:
    name, equals, text = spec.partition("=")
    return (name.strip(), text.strip()) if equals and name.strip().isidentifier() else ("", spec.strip())


def _random(spec: str, text: str, default: torch.dtype, generator: torch.Generator) -> Tensor:
    shape_text, *rest = text.split(":")
    shape = _shape(spec, shape_text)
    dtype = _dtype(spec, rest[0]) if rest else default
    if len(rest) > 2:
        raise InputError(f"--input {spec}: {text!r} has too many parts; the forms are {FORMS}")
    span = _span(spec, rest[1], dtype) if len(rest) == 2 else INTEGERS
    _check_size(spec, shape, dtype)
    if dtype.is_floating_point or dtype.is_complex:
        wide = {torch.float64: torch.float64, torch.complex64: torch.complex64, torch.complex128: torch.complex128}
        return torch.randn(shape, dtype=wide.get(dtype, torch.float32), generator=generator).to(dtype)
    return torch.randint(*span, shape, dtype=dtype, generator=generator)


def _shape(spec: str, text: str) -> tuple[int, ...]:
    if spec.lstrip().startswith("{"):
        names = re.findall(r"['\"](\w+)['\"]\s*:", spec) or ["NAME"]
        each = " ".join(f"--input {name}=1x8" for name in names)
        raise InputError(f"--input {spec}: a dict is given name by name, {each} with the shapes of your own")
    if text == "scalar":
        return ()
    parts = text.replace("×", "x").replace("X", "x").split("x")
    if all(re.fullmatch("[0-9]+", part) for part in parts):
        return tuple(int(part) for part in parts)
    if re.search(r"-\s*\d", text):
        raise InputError(f"--input {spec}: a dimension cannot be negative; write whole numbers such as 1x3x32x32")
    if Path(text).suffix and Path(text).is_file():
        raise InputError(
            f"--input {spec}: no such file is read; save it as an array with numpy.save, or with torch.save"
        )
    numbers = re.fullmatch(r"[\s(\[]*\d+([\s,*x]+\d+)*[\s,)\]]*", text)
    remedy = f"write {'x'.join(re.findall('[0-9]+', text))}" if numbers else f"the forms are {FORMS}"
    raise InputError(f"--input {spec}: {text!r} is no shape; {remedy}")


def _dtype(spec: str, text: str) -> torch.dtype:
    dtype = getattr(torch, text.removeprefix("torch."), None)
    if isinstance(dtype, torch.dtype) and str(dtype).removeprefix("torch.") in _DTYPES:
        return dtype
    if ".." in text:
        raise InputError(f"--input {spec}: a range needs an integer dtype before it, as in 1x8:int64:{text}")
    raise InputError(
        f"--input {spec}: there is no dtype {text!r}{nearest(text, _DTYPES)}; known are {', '.join(_DTYPES)}"
    )


def _span(spec: str, text: str, dtype: torch.dtype) -> tuple[int, int]:
    ends = re.fullmatch(r"(-?[0-9]+)\.\.(-?[0-9]+)", text)
    if not ends:
        raise InputError(f"--input {spec}: {text!r} is no range; write LOW..HIGH, as in 1x8:int64:0..100")
    if dtype.is_floating_point or dtype.is_complex or dtype == torch.bool:
        name = str(dtype).removeprefix("torch.")
        raise InputError(
            f"--input {spec}: {name} takes no range; leave {text} off, or use an integer dtype such as int64"
        )
    low, high = int(ends[1]), int(ends[2])
    if low >= high:
        raise InputError(
            f"--input {spec}: {text} is empty, as HIGH is excluded; write {min(low, high)}..{max(low, high) + 1}"
        )
    limits = torch.iinfo(dtype)
    if low < limits.min or high - 1 > limits.max:
        raise InputError(f"--input {spec}: {text} does not fit into {limits.dtype}, {limits.min}..{limits.max + 1}")
    return low, high


def _check_size(spec: str, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    needed, available = math.prod(max(size, 1) for size in shape) * dtype.itemsize / 2**30, memory() / 2**30
    if needed > available:
        remedy = f"this machine has {available:,.0f} GiB; use a smaller shape"
        raise InputError(f"--input {spec}: needs {needed:,.0f} GiB, and {remedy}")


def _is_file(text: str) -> bool:
    return text.endswith((".pt", ".pth", ".npy", ".safetensors"))


def _read(text: str) -> Any:
    file = Path(text).expanduser()
    if not file.is_file():
        folder = file.parent if file.parent.is_dir() else Path()
        near = nearest(file.name, (path.name for path in folder.iterdir() if _is_file(path.name)))
        raise InputError(f"--input {text}: there is no such file{near}; check the path")
    readers: dict[str, Callable[[Path], Any]] = {".npy": _read_npy, ".safetensors": _read_safetensors}
    return readers.get(file.suffix, _read_pt)(file)


def _read_pt(file: Path) -> Any:
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises a dozen kinds on a file that is not its own
        remedy = "save a tensor, a tuple of them or a dict by name with torch.save"
        raise InputError(f"--input {file}: cannot be read ({type(error).__name__}); {remedy}") from None


def _read_npy(file: Path) -> Tensor:
    try:
        import numpy
    except ImportError:
        _library_missing(file, "numpy")
    try:
        return torch.from_numpy(numpy.load(file, allow_pickle=False))
    except (TypeError, ValueError, EOFError) as error:
        raise InputError(
            f"--input {file}: cannot be read as a tensor: {_first_line(error)}; save it with numpy.save"
        ) from None


def _read_safetensors(file: Path) -> dict[str, Tensor]:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError:
        _library_missing(file, "safetensors")
    try:
        return load_file(file)
    except SafetensorError as error:
        raise InputError(f"--input {file}: cannot be read: {_first_line(error)}; save it with safetensors") from None


def _library_missing(file: Path, library: str) -> NoReturn:
    raise InputError(f"--input {file}: a {file.suffix} file needs {library}; run `pip install {library}`") from None


def _device_and_dtype(module: nn.Module) -> tuple[torch.device, torch.dtype]:
    """The device of the first parameter, and the dtype of the first parameter that has a usual float dtype."""
    parameters = list(module.parameters())
    dtypes = (parameter.dtype for parameter in parameters)
    usual = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
    device = parameters[0].device if parameters else torch.device("cpu")
    return device, next((dtype for dtype in dtypes if dtype in usual), torch.float32)


def _on(device: torch.device, value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {key: _on(device, item) for key, item in value.items()}
    if type(value) in (tuple, list):
        return type(value)(_on(device, item) for item in value)
    return value


def _alone(value: Any) -> Any:
    """The only tensor of a .safetensors file, which gives every tensor a name; all of them if there are several."""
    return next(iter(value.values())) if len(value) == 1 else value


def _signature(module: nn.Module) -> inspect.Signature | None:
    try:
        return inspect.signature(module.forward)
    except (TypeError, ValueError):  # a ScriptModule's forward has none
        return None


def _check_name(name: str, spec: str, signature: inspect.Signature | None) -> None:
    if signature is None or name in signature.parameters:
        return
    parameters = signature.parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return
    names = [parameter.name for parameter in parameters]
    remedy = ""
    if len(names) == 1 and not nearest(name, names):
        saved = f"torch.save({{{name!r}: torch.rand(1, 8)}}, 'batch.pt')"
        remedy = f"; if {names[0]} is a dict, save one, {saved}, and write --input {names[0]}=batch.pt"
    raise InputError(
        f"--input {spec}: forward has no {name!r}{nearest(name, names)}; it takes {', '.join(names)}{remedy}"
    )


def _check_names_of_dict(value: dict[str, Any], spec: str, signature: inspect.Signature | None) -> None:
    """InputError if a dict is meant as the only argument, none of whose names forward has."""
    parameters = list(signature.parameters.values()) if signature is not None else []
    if len(parameters) != 1 or parameters[0].kind is not parameters[0].POSITIONAL_OR_KEYWORD:
        return
    name = parameters[0].name
    if value and name not in value:
        raise InputError(f"--input {spec}: holds a dict, and forward takes {name} alone; write --input {name}={spec}")


def _check_call(signature: inspect.Signature | None, args: list[Any], kwargs: dict[str, Any]) -> None:
    """InputError for arguments that do not fit the signature, so that an error of `forward` is one inside it."""
    if signature is None:
        return
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        names = ", ".join(signature.parameters) or "nothing"
        remedy = "give one --input for each, in order or as NAME=SHAPE"
        raise InputError(f"the inputs do not fit: {error}; forward takes {names}: {remedy}") from None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
