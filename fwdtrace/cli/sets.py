"""A command as it declares itself -> a command as typer takes it, an option for each field of a set of options."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any

import typer

from fwdtrace.cli.completion import keys
from fwdtrace.cli.declared import Parameter, call, parameters_of
from fwdtrace.cli.options import PANELS
from fwdtrace.cli.plain import choices_of
from fwdtrace.errors import FwdtraceError
from fwdtrace.models.spec import nearest_name


def as_typer_takes_it(command: Callable[..., None], panel: str | None = None) -> Callable[..., None]:
    """The command as typer takes it: in place of a parameter that is a set of options, the options of that set.

    What is in no set comes first in the help, in this panel.
    """

    @wraps(command)
    def flat(**values: Any) -> None:
        call(command, values)

    parameters = [_as_typer_takes_it(parameter, panel) for parameter in parameters_of(command)]
    flat.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return flat


def _as_typer_takes_it(parameter: Parameter, panel: str | None) -> inspect.Parameter:
    declared = parameter.declared
    choices = choices_of(parameter.kind)
    said = (typer.Option if declared.is_option else typer.Argument)(
        *declared.names,
        help=declared.help,
        metavar=declared.metavar,
        min=declared.min,
        max=declared.max,
        callback=_one_of(parameter.names[0], choices) if choices else declared.callback,
        autocompletion=declared.completion or (keys(choices) if choices else None),
        show_default=declared.show_default,
        rich_help_panel=declared.panel or (panel if parameter.set is None else PANELS.get(parameter.set)),
    )
    return inspect.Parameter(
        parameter.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=parameter.default,
        annotation=Annotated[str | None if choices else parameter.kind, said],
    )


def _one_of(name: str, choices: tuple[str, ...]) -> Callable[[str | None], str | None]:
    """Gives the value of an option itself, if it is one of these or none was given; FwdtraceError else."""

    def checked(value: str | None) -> str | None:
        if value is None or value in choices:
            return value
        near = nearest_name(value, choices)
        meant = f"; did you mean {near}?" if near else ""
        raise FwdtraceError(f"{name} {value}: write one of {', '.join(choices)}{meant}")

    return checked
