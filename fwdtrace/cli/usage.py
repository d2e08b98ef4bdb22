"""What typer finds wrong with a command line -> one line that says what is wrong and what to write."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import typer

from fwdtrace.cli.declared import Parameter, parameters_of

WrongUsage: Any = typer.BadParameter.__base__
"""What is raised for an option that there is not, by whichever click typer has."""


def in_one_line(error: Any, words: Sequence[str]) -> str:
    """What is wrong with the words, as the messages of the commands say it."""
    parameter = _parameter_of(error)
    if parameter is not None and parameter.kind in (int, int | None):
        name = parameter.names[-1] if parameter.names else parameter.declared.metavar or parameter.name.upper()
        return f"{name} {_behind(parameter.names, words) or ''}".rstrip() + f": write {_numbers_of(parameter)}"
    message = " ".join(error.format_message().split()).rstrip(".")
    if error.ctx is None or message.endswith("?"):
        return message
    return f"{message}; {error.ctx.command_path} --help lists what there is"


def _parameter_of(error: Any) -> Parameter | None:
    """The parameter whose value is wrong, as the command declares it; None if that is not what is wrong."""
    if not isinstance(error, typer.BadParameter) or error.ctx is None or error.param is None:
        return None
    callback = error.ctx.command.callback
    parameters = parameters_of(inspect.unwrap(callback)) if callback is not None else ()
    return next((each for each in parameters if each.name == error.param.name), None)


def _numbers_of(parameter: Parameter) -> str:
    """The numbers that a parameter takes, in words."""
    least, most = parameter.declared.min, parameter.declared.max
    if most is not None:
        return f"a whole number from {least} to {most}"
    return "a whole number" if least is None else f"a whole number, {least} or more"


def _behind(names: Sequence[str], words: Sequence[str]) -> str | None:
    """What stands behind the last of these options."""
    found = None
    for word, following in zip(words, [*words[1:], None], strict=True):
        name, equals, value = word.partition("=")
        if name in names:
            found = value if equals else following
    return found
