"""A command whose parameters are sets of options -> a command as typer takes it, an option for each field of a set."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import wraps
from typing import Any, get_type_hints

from fwdtrace.cli.options import PANELS
from fwdtrace.cli.panels import in_panel
from fwdtrace.errors import FwdtraceError
from fwdtrace.run.cold_start import interruptible


def as_typer_takes_it(command: Callable[..., None], panel: str | None = None) -> Callable[..., None]:
    """The command as typer takes it: in place of a parameter that is a set of options, the options of that set.

    A set is a dataclass, each field of which is an option with a default. What is no set comes first in the help, in
    this panel.
    Ctrl-C that the command leaves to us is trouble, told in one line.
    """
    hints = get_type_hints(command, include_extras=True)
    sets = {name: kind for name, kind in hints.items() if is_dataclass(kind) and isinstance(kind, type)}
    own = [
        parameter.replace(annotation=in_panel(hints[name], panel), kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in inspect.signature(command).parameters.items()
        if name not in sets
    ]

    @wraps(command)
    def flat(**values: Any) -> None:
        for name, kind in sets.items():
            values[name] = kind(**{field.name: values.pop(field.name) for field in fields(kind)})
        try:
            with interruptible():
                command(**values)
        except KeyboardInterrupt:
            raise FwdtraceError("interrupted") from None

    options = [option for kind in sets.values() for option in _options_of(kind)]
    flat.__signature__ = inspect.Signature([*own, *options])  # type: ignore[attr-defined]
    return flat


def _options_of(kind: type) -> list[inspect.Parameter]:
    hints = get_type_hints(kind, include_extras=True)
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=in_panel(hint, PANELS.get(kind)),
        )
        for field, hint in ((field, hints[field.name]) for field in fields(kind))
    ]
