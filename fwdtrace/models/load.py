"""SPEC -> nn.Module, and the inputs it wants: a built-in, a source's, or what a file or module of the user's holds.

A `SpecError` with a `__cause__` means that the spec is right and the user's own code raised: the cause is theirs.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import os
import pkgutil
import re
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module, invalidate_caches
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from torch import nn

from fwdtrace.errors import SpecError
from fwdtrace.models import zoo
from fwdtrace.models.sources import load_from_source
from fwdtrace.models.spec import LITERALS_ONLY, Arguments, arguments_of, nearest, run_theirs
from fwdtrace.models.spec import LoadedModel as LoadedModel
from fwdtrace.models.zoo import BUILT_INS

DEFAULT_INPUTS = ("1x3x32x32",)
MODELS_SHOWN = 8

_HOW_TO_NAME = "a model of yours is file.py:Name or package.module:Name"
_EXAMPLES = {"int": "8", "float": "0.5", "str": "'name'", "bool": "True", "": "8"}


@dataclass(frozen=True, slots=True)
class Target:
    """A spec taken apart: a file or module, the dotted name in it ("" if none), and the arguments if it is called."""

    where: str
    name: str
    arguments: Arguments | None = None


def load_model(spec: str, *, trust: bool = False) -> LoadedModel:
    """Build the module that `spec` names; SpecError if it names none, or if the code that it names raised.

    With `trust`, a `.pt2` file may run code as it is opened.

    The folder of a file, or the current one for a module, stays on `sys.path`, as a model may import while it runs.
    """
    name, bracket, call = spec.partition("(")
    for model in BUILT_INS:
        if name == model.name:
            return LoadedModel(_build(_parse(f"{zoo.__name__}.{model.target}{bracket}{call}")), spec, model.inputs)
    found = load_from_source(spec, trust=trust)
    if found is not None:
        return found
    module = _build(_parse(spec))
    return LoadedModel(module, spec, DEFAULT_INPUTS if _takes_inputs(module) else ())


def load_function(spec: str) -> Callable[..., Any]:
    """The function that `spec` names, such as the loss `train.py:loss`; SpecError if it names none."""
    target = _parse(spec)
    found = _find(_home_of(target), target) if target.name else None
    if target.arguments is not None or not callable(found):
        raise SpecError(f"{spec!r} is no function; name one, such as file.py:loss, without arguments")
    return found  # type: ignore[no-any-return]


def _home_of(target: Target) -> ModuleType:
    return _import_file(target.where) if _is_path(target.where) else _import_name(target.where)


def _parse(spec: str) -> Target:
    """Take a spec apart at the first colon that a name follows, as paths and arguments may hold colons too."""
    for colon in (index for index, letter in enumerate(spec) if letter == ":"):
        where, text = spec[:colon], spec[colon + 1 :].strip()
        try:
            expression = ast.parse(text, mode="eval").body
        except SyntaxError:
            continue
        call = expression if isinstance(expression, ast.Call) else None
        name = call.func if call else expression
        if where and _is_dotted_name(name):
            return Target(where, ast.unparse(name), arguments_of(call) if call else None)
    if spec.endswith(".py") or (_is_path(spec) and ":" not in spec):
        return Target(spec, "")
    if ":" in spec:
        where, _, text = spec.rpartition(":")
        raise SpecError(f"{spec!r}: {text!r} is no name and no call such as Net(depth=3); {_HOW_TO_NAME}")
    near = nearest(spec, (model.name for model in BUILT_INS))
    raise SpecError(f"no built-in model is named {spec!r}{near}; `fwdtrace models` lists them, {_HOW_TO_NAME}")


def _is_dotted_name(node: ast.expr) -> bool:
    while isinstance(node, ast.Attribute):
        node = node.value
    return isinstance(node, ast.Name)


def _build(target: Target) -> nn.Module:
    home = _home_of(target)
    if not target.name:
        target = Target(target.where, _only_model(home, target.where))
    found = _find(home, target)
    spec = f"{target.where}:{target.name}"
    if isinstance(found, nn.Module):
        if target.arguments is not None:
            raise SpecError(f"{spec!r} is a module already and takes no arguments here; leave them off")
        return found
    if not callable(found) or (inspect.isclass(found) and not issubclass(found, nn.Module)):
        kind = "class" if inspect.isclass(found) else type(found).__name__.replace("module", "Python module")
        raise SpecError(f"{spec!r} is a {kind}, not an nn.Module{_models_listed(home)}")
    arguments = target.arguments or Arguments()
    args, kwargs = arguments.args, arguments.kwargs or {}
    _check_arguments(found, spec, args, kwargs)
    module = run_theirs(partial(found, *args, **kwargs), f"building {spec!r} raised; the traceback above is its own")
    if not isinstance(module, nn.Module):
        raise SpecError(f"{spec!r} returned a {type(module).__name__}, not an nn.Module; return the module alone")
    return module


def _takes_inputs(module: nn.Module) -> bool:
    try:
        return bool(inspect.signature(module.forward).parameters)
    except (TypeError, ValueError):  # a ScriptModule's forward has no signature
        return True


def _only_model(home: ModuleType, where: str) -> str:
    models = _models_in(home)
    if len(models) == 1:
        return models[0]
    if not models:
        raise SpecError(f"{where!r} defines no nn.Module; name a function that builds one, {where}:build")
    raise SpecError(f"{where!r} needs the name of a model, such as {where}:{models[-1]}{_models_listed(home)}")


def _find(home: ModuleType, target: Target) -> Any:
    found: Any = home
    for part in target.name.split("."):
        if not hasattr(found, part):
            near = nearest(part, (name for name in dir(found) if not name.startswith("_")))
            hint = _models_listed(home) if found is home else ""
            raise SpecError(f"{target.where!r} has no {target.name!r}{near}{hint}")
        found = getattr(found, part)
    return found


def _check_arguments(build: Callable[..., Any], spec: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Tell arguments that cannot be right, which the spec is to blame for, from a constructor that raises."""
    try:
        signature = inspect.signature(build)
    except (TypeError, ValueError):  # some builtins have none
        return
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        parameters = [parameter.replace(annotation=parameter.empty) for parameter in signature.parameters.values()]
        brief = inspect.Signature(parameters)
        remedy = f"write {spec}({_example(signature)})" if _example(signature) else LITERALS_ONLY
        raise SpecError(f"{spec}{brief}: {error}; {remedy}, or name a function that builds it") from None


def _example(signature: inspect.Signature) -> str:
    """Literal arguments for what has no default; "" if one of them has a type that no literal has."""
    examples: list[str] = []
    for parameter in signature.parameters.values():
        if parameter.default is not parameter.empty or parameter.kind.name.startswith("VAR"):
            continue
        annotation = parameter.annotation
        kind = "" if annotation is parameter.empty else getattr(annotation, "__name__", str(annotation))
        if kind not in _EXAMPLES:
            return ""
        name = "" if parameter.kind is parameter.POSITIONAL_ONLY else f"{parameter.name}="
        examples.append(f"{name}{_EXAMPLES[kind]}")
    return ", ".join(examples)


def _is_path(where: str) -> bool:
    return where.endswith(".py") or "/" in where or os.sep in where or "\\" in where


def _import_name(where: str) -> ModuleType:
    if not all(part.isidentifier() for part in where.split(".")):
        raise SpecError(f"{where!r} is neither a Python file nor the name of a module; {_HOW_TO_NAME}")
    _make_importable(Path.cwd())
    try:
        return _import(where)
    except SpecError as error:
        missing = error.__cause__
        if isinstance(missing, ModuleNotFoundError) and f"{where}.".startswith(f"{missing.name}."):
            parent, _, last = where.rpartition(".")
            folders = getattr(sys.modules.get(parent), "__path__", None) or [os.getcwd()]
            near = nearest(last, (module.name for module in pkgutil.iter_modules(folders)))
            raise SpecError(f"no module is named {missing.name!r}{near}; is it installed, or in this folder?") from None
        raise


def _import_file(where: str) -> ModuleType:
    file = Path(where).expanduser().absolute()
    if not file.is_file():
        if not file.parent.is_dir():
            raise SpecError(f"there is no folder {str(Path(where).parent)!r}; check the path of {where!r}")
        near = nearest(file.name, (path.name for path in file.parent.glob("*.py")))
        raise SpecError(f"there is no file {where!r}{near}; check the path")
    if file.suffix != ".py":
        raise SpecError(f"{where!r} is not a Python file; {_HOW_TO_NAME}")
    root, parts = file.parent, [file.stem]
    while (root / "__init__.py").is_file():
        parts.insert(0, root.name)
        root = root.parent
    if parts[-1] == "__init__":
        parts.pop()
    _make_importable(root)
    if file.parent != root:
        sys.path.append(str(file.parent))  # last: the files of a package may be named like the standard library's
    if _is_importable(parts, root):
        return _import(".".join(parts))
    return _import(f"{re.sub(r'[^0-9a-zA-Z_]', '_', file.stem)}_{zlib.crc32(bytes(file)):08x}", file)


def _is_importable(parts: list[str], root: Path) -> bool:
    """Whether importing this name gives the file, and not one of that name which Python already has."""
    if parts[0] == "__main__" or not all(part.isidentifier() for part in parts):
        return False
    if parts[0] in sys.modules:
        origin = getattr(sys.modules[parts[0]], "__file__", None)
    else:
        found = importlib.util.find_spec(parts[0])
        origin = found.origin if found else None
    return origin in (str(root / f"{parts[0]}.py"), str(root / parts[0] / "__init__.py"))


def _import(name: str, file: Path | None = None) -> ModuleType:
    """Import a module by name, or a file under a name of our own; what it raises is the cause of the SpecError."""
    shown = file.name if file else name
    broken = f"{shown!r} was found, but importing it raised; the traceback above is its own"
    if file is None:
        return cast(ModuleType, run_theirs(partial(import_module, name), broken))
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise SpecError(f"{str(file)!r} cannot be imported as Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look classes up by the name of their module
    try:
        run_theirs(partial(spec.loader.exec_module, module), broken)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _make_importable(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    invalidate_caches()


def _models_in(home: ModuleType) -> list[str]:
    return [
        name
        for name, value in vars(home).items()
        if inspect.isclass(value) and issubclass(value, nn.Module) and value.__module__ == home.__name__
    ]


def _models_listed(home: ModuleType) -> str:
    models = _models_in(home)
    if not models:
        return ""
    more = f" and {len(models) - MODELS_SHOWN} more" if len(models) > MODELS_SHOWN else ""
    return f"; it has {', '.join(models[:MODELS_SHOWN])}{more}"
