"""What the loading of every kind of spec shares: literal arguments, errors with a hint, the model and its inputs."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fwdtrace.errors import SpecError

if TYPE_CHECKING:
    from torch import nn

HOW_TO_NAME = "a model of yours is file.py:Name or package.module:Name"
LITERALS_ONLY = "arguments are literals such as 3, 'gelu' or [1, 2]"

Building = AbstractContextManager[Any]
"""What is entered while a model is built."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """The positional and keyword arguments of one forward call."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A module, its spec, and the inputs that suit it if the user gives none: `--input` texts, or the arguments.

    `guessed`: neither the model nor its library says what it takes.
    """

    module: nn.Module
    spec: str
    inputs: tuple[str, ...] | Inputs = ()
    guessed: bool = False


@dataclass(frozen=True, slots=True)
class Arguments:
    """The literal arguments of a call in a spec."""

    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] | None = None


def arguments_of(call: ast.Call) -> Arguments:
    """The arguments of a call, all of which must be literals; SpecError if one is not."""
    keywords: dict[str, Any] = {}
    for keyword in call.keywords:
        value = _literal(keyword.value)
        keywords.update({keyword.arg: value} if keyword.arg else value)
    return Arguments(tuple(_literal(node) for node in call.args), keywords)


def name_and_arguments(text: str) -> tuple[str, Arguments]:
    """Split `NAME(depth=3)` into name and arguments; the name may hold any character, as a path does.

    The arguments are empty if the text is no call.
    """
    for bracket in (index for index, letter in enumerate(text) if letter == "("):
        try:
            call = ast.parse(f"name{text[bracket:]}", mode="eval").body
        except SyntaxError:
            continue
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name):
            return text[:bracket].strip(), arguments_of(call)
    return text.strip(), Arguments()


def run_theirs(function: Callable[[], Any], message: str) -> Any:
    """Run code of the user or of a library; SpecError if it raises, with its own exception as the cause."""
    try:
        return function()
    except SpecError:
        raise
    except (Exception, SystemExit) as error:  # their code may raise anything; a script without a guard ends itself
        raise SpecError(message) from error


def nearest(wanted: str, names: Iterable[str]) -> str:
    """A hint that ends a message, `, the nearest is 'lenet'`; "" if no name is similar, in letters of either case."""
    found = nearest_name(wanted, names)
    return f", the nearest is {found!r}" if found is not None else ""


def nearest_script(file: Path) -> str:
    """The same for a Python file that is not there: one in its folder with a similar name before the suffix."""
    found = nearest_name(file.stem, (other.stem for other in file.parent.glob("*.py")))
    return f", the nearest is {f'{found}.py'!r}" if found is not None else ""


def nearest_name(wanted: str, names: Iterable[str], *, likeness: float = 0.6) -> str | None:
    """The name that is most like the wanted one, in letters of either case; None if none is so much like it."""
    by_letters = {name.lower(): name for name in names}
    matches = get_close_matches(wanted.lower(), list(by_letters), n=1, cutoff=likeness)
    return by_letters[matches[0]] if matches else None


def kind_on_the_hub(name: str, types: Iterable[str]) -> str | None:
    """What to write for a model's name on the Hub, `bert-base-uncased`; None if it does not begin with a model type."""
    last = name.rpartition("/")[2].lower()
    found = [kind for kind in types if last != kind and re.match(rf"{re.escape(kind)}(?![a-z])", last)]
    if not found:
        return None
    return f"nothing is downloaded; transformers:{max(found, key=len)} is a model of this type with random weights"


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        text = ast.unparse(node)
        raise SpecError(f"{text!r} is not a literal; {LITERALS_ONLY}, or name a function that builds it") from None
