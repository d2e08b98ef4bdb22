"""How a command declares its arguments and options, each once, for typer and for what reads a plain command line.

Nothing here imports typer, which takes longer to import than a short command.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from fwdtrace.errors import FwdtraceError
from fwdtrace.run.cold_start import interruptible

MODEL, PROGRAM, TRACE, MEASURE, SHOW, SAVE, ARGUMENTS, OPTIONS, HELP = (
    *("Model and input", "Program", "Trace", "Measure", "Show", "Save", "Arguments", "Options", "Help"),
)
"""The parts of the help that options stand in."""
REQUIRED = inspect.Parameter.empty
"""The default of what has to be given."""


@dataclass(frozen=True)
class Declared:
    """What `Annotated` says of a parameter of a command: an option with these names, or an argument without any."""

    is_option: bool
    names: tuple[str, ...] = ()
    help: str = ""
    metavar: str | None = None
    panel: str | None = None
    min: int | None = None
    max: int | None = None
    callback: Callable[[Any], Any] | None = None
    completion: Callable[[str], list[str]] | None = None
    show_default: bool = True
    takes_the_rest: bool = False


def option(*names: str, help: str, **more: Any) -> Declared:
    """An option; without names it has that of its parameter. A flag is named, `--on` alone or `--on/--off`."""
    return Declared(True, names, help, **more)


def argument(*, help: str, **more: Any) -> Declared:
    """An argument; one that `takes_the_rest` takes all that comes behind it too, options or not."""
    return Declared(False, (), help, **more)


@dataclass(frozen=True)
class Parameter:
    """A parameter of a command as a user gives it: its own, or a field of a set of options."""

    name: str
    kind: Any
    declared: Declared
    default: Any
    set: type | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """What a user writes before the value, or for a flag, as in `--on/--off`; none for an argument."""
        if not self.declared.is_option:
            return ()
        return self.declared.names or (f"--{self.name.replace('_', '-')}",)


def parameters_of(command: Callable[..., None]) -> list[Parameter]:
    """The parameters of a command: its own first, then, for each parameter that is a set of options, those of the set.

    A set is a dataclass, each field of which is an option with a default.
    """
    hints = get_type_hints(command, include_extras=True)
    sets = _sets(hints)
    own = [
        _parameter(name, hints[name], parameter.default)
        for name, parameter in inspect.signature(command).parameters.items()
        if name not in sets
    ]
    return [*own, *(parameter for kind in sets.values() for parameter in _parameters_in(kind))]


def call(command: Callable[..., None], values: dict[str, Any]) -> None:
    """Call the command with a value for each of its parameters, those of a set as one value.

    Ctrl-C that the command leaves to us is trouble, told in one line.
    """
    values = dict(values)
    for name, kind in _sets(get_type_hints(command, include_extras=True)).items():
        values[name] = kind(**{field.name: values.pop(field.name) for field in fields(kind)})
    try:
        with interruptible():
            command(**values)
    except KeyboardInterrupt:
        raise FwdtraceError("interrupted") from None


def _sets(hints: dict[str, Any]) -> dict[str, type]:
    return {name: kind for name, kind in hints.items() if isinstance(kind, type) and is_dataclass(kind)}


def _parameters_in(kind: type) -> Iterator[Parameter]:
    hints = get_type_hints(kind, include_extras=True)
    for field in fields(kind):
        yield _parameter(field.name, hints[field.name], field.default, kind)


def _parameter(name: str, hint: Any, default: Any, set: type | None = None) -> Parameter:
    if get_origin(hint) is not Annotated:  # Python 3.10 puts Optional around the type of what is None by default
        hint, _ = get_args(hint)
    kind, declared = get_args(hint)
    return Parameter(name, kind, declared, default, set)
