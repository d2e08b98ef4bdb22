"""A plain command line -> the values of a command's parameters, by their declarations and without typer.

Typer takes a tenth of the time in which torch is imported. It is asked for all that is not plain: help, completion,
mistakes, and whatever is written in a way that is not read here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from fwdtrace.cli.declared import REQUIRED, Parameter, parameters_of
from fwdtrace.errors import FwdtraceError


class _NotPlain(Exception):
    """The command line is for typer to read."""


def plain_values(command: Callable[..., None], words: Sequence[str]) -> dict[str, Any] | None:
    """The value of each parameter of the command; None where typer has to read these words."""
    parameters = parameters_of(command)
    try:
        texts = _given(parameters, list(words))
        return {parameter.name: _checked(parameter, texts) for parameter in parameters}
    except (_NotPlain, FwdtraceError):  # of several mistakes, typer tells the one that comes first
        return None


def _given(parameters: list[Parameter], words: list[str]) -> dict[str, list[Any]]:
    """What is given for each parameter, by name, in order: texts, and for flags whether they are on."""
    options = _options(parameters)
    given: dict[str, list[Any]] = {}
    left: list[str] = []
    takes_the_rest = any(parameter.declared.takes_the_rest for parameter in parameters)
    while words:
        word = words.pop(0)
        if not word.startswith("-") or word == "-":
            left.append(word)
            if takes_the_rest:
                left += words
                break
            continue
        name, has_value, value = word.partition("=") if word.startswith("--") else (word, "", "")
        if name not in options:
            raise _NotPlain
        parameter, on = options[name]
        if parameter.kind is bool:
            if has_value:
                raise _NotPlain
            given.setdefault(parameter.name, []).append(on)
            continue
        if not has_value:
            value = words.pop(0) if words else ""
        if not value or value.startswith("-"):
            raise _NotPlain
        given.setdefault(parameter.name, []).append(value)
    return {**given, **_arguments(parameters, left)}


def _options(parameters: list[Parameter]) -> dict[str, tuple[Parameter, bool]]:
    """The parameter that each name of an option is for, and whether the name turns a flag on."""
    named = {}
    for parameter in parameters:
        for names in parameter.names:
            on, _, off = names.partition("/")
            named[on] = parameter, True
            if off:
                named[off] = parameter, False
    return named


def _arguments(parameters: list[Parameter], words: list[str]) -> dict[str, list[Any]]:
    """The words for each argument in order, all that are left for one that takes several."""
    given: dict[str, list[Any]] = {}
    for parameter in parameters:
        if parameter.declared.is_option or not words:
            continue
        count = len(words) if _item(parameter.kind) is not None else 1
        given[parameter.name], words = words[:count], words[count:]
    if words:
        raise _NotPlain
    return given


def _checked(parameter: Parameter, given: dict[str, list[Any]]) -> Any:
    value = _value(parameter, given.get(parameter.name, []))
    return parameter.declared.callback(value) if parameter.declared.callback else value


def _value(parameter: Parameter, texts: list[Any]) -> Any:
    if not texts:
        if parameter.default is REQUIRED:
            raise _NotPlain
        return parameter.default
    item = _item(parameter.kind)
    if item is not None:
        return [_read(item, text, parameter) for text in texts]
    return _read(_without_none(parameter.kind), texts[-1], parameter)


def _read(kind: Any, text: Any, parameter: Parameter) -> Any:
    """The text as a value of this kind, as typer would read it."""
    if kind in (bool, str):
        return text
    if kind is Path:
        return Path(text)
    if kind is int and text.isascii() and text.isdigit() and len(text) < 19:
        number, least, most = int(text), parameter.declared.min, parameter.declared.max
        if (least is None or number >= least) and (most is None or number <= most):
            return number
    if text in choices_of(kind):
        return text
    raise _NotPlain


def choices_of(kind: Any) -> tuple[str, ...]:
    """The words that there are to choose from, none if any word will do."""
    kind = _without_none(kind)
    return get_args(kind) if get_origin(kind) is Literal else ()


def _item(kind: Any) -> Any:
    """What a list is of, or None for what is no list."""
    kind = _without_none(kind)
    return get_args(kind)[0] if get_origin(kind) is list else None


def _without_none(kind: Any) -> Any:
    if get_origin(kind) not in (Union, UnionType):
        return kind
    kinds = [each for each in get_args(kind) if each is not type(None)]
    return kinds[0] if len(kinds) == 1 else kind
