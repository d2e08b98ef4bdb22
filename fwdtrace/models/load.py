"""From a spec to a model with the inputs that suit it: built-in, of a source such as timm, or of the user's own code.

A `SpecError` with a `__cause__` means that the spec is right and the user's own code raised: the cause is that error.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from fwdtrace.errors import SpecError
from fwdtrace.models import zoo
from fwdtrace.models.guess import declared_inputs
from fwdtrace.models.imports import imported, is_path
from fwdtrace.models.meant import name_on_the_hub, no_model
from fwdtrace.models.sources import load_from_source
from fwdtrace.models.spec import HOW_TO_NAME, LITERALS_ONLY, Arguments, arguments_of, nearest, nearest_name, run_theirs
from fwdtrace.models.spec import Building as Building
from fwdtrace.models.spec import LoadedModel as LoadedModel
from fwdtrace.models.zoo import BUILT_INS
from fwdtrace.trace.text import first_few, with_article

DEFAULT_INPUTS = ("1x3x32x32",)
MODELS_SHOWN = 8

_EXAMPLES = {"int": "8", "float": "0.5", "str": "'name'", "bool": "True", "": "8"}


@dataclass(frozen=True, slots=True)
class Target:
    """The parts of a spec: a file or module, the dotted name in it ("" if none), and the arguments if it is a call."""

    where: str
    name: str
    arguments: Arguments | None = None


def load_model(spec: str, *, trust: bool = False, building: Building | None = None) -> LoadedModel:
    """Build the module that `spec` names; SpecError if it names none, or if the code that it names raised.

    With `trust`, a `.pt2` file may run code as it is opened. `building` is entered while code of the user or of a
    library builds the model, and not while a file is imported or opened.

    The folder of a file, or the current one for a module, stays on `sys.path`, as a model may import while it runs.
    """
    name, bracket, call = spec.partition("(")
    for model in BUILT_INS:
        if name == model.name:
            target = _parse(f"{zoo.__name__}.{model.target}{bracket}{call}")
            return LoadedModel(_build(target, building), spec, model.inputs)
    found = load_from_source(spec, trust=trust, building=building)
    if found is not None:
        return found
    module = _build(_parse(spec), building)
    declared = declared_inputs(module)
    if declared is not None:
        return LoadedModel(module, spec, declared)
    takes = _takes_inputs(module)
    return LoadedModel(module, spec, DEFAULT_INPUTS if takes else (), guessed=takes)


def load_function(spec: str) -> Callable[..., Any]:
    """The function that `spec` names, such as the loss `train.py:loss`; SpecError if it names none."""
    target = _parse(spec)
    function = _named(imported(target.where), target) if target.name else None
    if target.arguments is not None or not callable(function):
        raise SpecError(f"{spec!r} is no function; name one, such as file.py:loss, without arguments")
    return function  # type: ignore[no-any-return]


def _parse(spec: str) -> Target:
    """Split a spec at the first colon that a name follows, as paths and arguments may hold colons too."""
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
    if spec.endswith(".py") or (is_path(spec) and ":" not in spec):
        of_hub = name_on_the_hub(spec) if not Path(spec).parent.is_dir() else None
        if of_hub is not None:
            raise SpecError(of_hub)
        return Target(spec, "")
    if ":" in spec:
        where, _, text = spec.rpartition(":")
        raise SpecError(f"{spec!r}: {text!r} is no name and no call such as Net(depth=3); {HOW_TO_NAME}")
    raise SpecError(no_model(spec))


def _is_dotted_name(node: ast.expr) -> bool:
    while isinstance(node, ast.Attribute):
        node = node.value
    return isinstance(node, ast.Name)


def _build(target: Target, building: Building | None = None) -> nn.Module:
    home = imported(target.where)
    if not target.name:
        target = Target(target.where, _only_model(home, target.where))
    named = _named(home, target)
    spec = f"{target.where}:{target.name}"
    if isinstance(named, nn.Module):
        if target.arguments is not None:
            raise SpecError(f"{spec!r} is a module already and takes no arguments here; leave them off")
        return named
    if not callable(named) or (inspect.isclass(named) and not issubclass(named, nn.Module)):
        kind = "class" if inspect.isclass(named) else type(named).__name__.replace("module", "Python module")
        raise SpecError(f"{spec!r} is {with_article(kind)}, not an nn.Module{_models_listed(home)}")
    arguments = target.arguments or Arguments()
    args, kwargs = arguments.args, arguments.kwargs or {}
    _check_arguments(named, spec, args, kwargs)
    raised = f"building {spec!r} raised; the traceback above is its own"
    with building or nullcontext():
        module = run_theirs(partial(named, *args, **kwargs), raised)
    if not isinstance(module, nn.Module):
        raise SpecError(
            f"{spec!r} returned {with_article(type(module).__name__)}, not an nn.Module; return the module alone"
        )
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
        made = [name for name, value in vars(home).items() if isinstance(value, nn.Module)]
        if made:
            raise SpecError(f"{where!r} defines no nn.Module, but makes one: write {where}:{made[0]}")
        how = f"name a function that builds one, {where}:build, or run it as a program, fwdtrace exec {where}"
        raise SpecError(f"{where!r} defines no nn.Module; {how}")
    raise SpecError(f"{where!r} needs the name of a model, such as {where}:{models[-1]}{_models_listed(home)}")


def _named(home: ModuleType, target: Target) -> Any:
    """What the target's dotted name stands for in its module."""
    value: Any = home
    for part in target.name.split("."):
        if not hasattr(value, part):
            near = nearest(part, (name for name in dir(value) if not name.startswith("_")))
            hint = _models_listed(home) if value is home else ""
            raise SpecError(f"{target.where!r} has no {target.name!r}{near}{hint}")
        value = getattr(value, part)
    return value


def _check_arguments(build: Callable[..., Any], spec: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """SpecError if the arguments do not fit the signature: then the spec is wrong, and the constructor never runs."""
    try:
        signature = inspect.signature(build)
    except (TypeError, ValueError):  # some builtins have none
        return
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        parameters = [parameter.replace(annotation=parameter.empty) for parameter in signature.parameters.values()]
        brief = inspect.Signature(parameters)
        unknown = [name for name in kwargs if name not in signature.parameters]
        meant = nearest_name(unknown[0], signature.parameters) if unknown else None
        end = ", or name a function that builds it"
        remedy = f"write {spec}({_example(signature)})" if _example(signature) else LITERALS_ONLY
        if meant is not None:
            remedy, end = f"did you mean {meant}={kwargs[unknown[0]]!r}", "?"
        raise SpecError(f"{spec}{brief}: {error}; {remedy}{end}") from None


def _example(signature: inspect.Signature) -> str:
    """Literals for the arguments without a default, `width=8`; "" if one has a type that cannot be a literal."""
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


def _models_in(home: ModuleType) -> list[str]:
    return [
        name
        for name, value in vars(home).items()
        if inspect.isclass(value) and issubclass(value, nn.Module) and value.__module__ == home.__name__
    ]


def _models_listed(home: ModuleType) -> str:
    models = _models_in(home)
    return f"; it has {first_few(models, MODELS_SHOWN)}" if models else ""
