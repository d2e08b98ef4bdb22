"""A command declares its arguments and options, each once."""

from __future__ import annotations

from typing import Annotated, Optional

from fwdtrace.cli.declared import REQUIRED, Parameter, argument, option, parameters_of

FILE, DEPTH = argument(help="A file."), option("--depth", help="How deep.")


def test_a_parameter_has_its_type_its_declaration_and_its_default() -> None:
    def command(file: Annotated[str, FILE], depth: Annotated[int, DEPTH] = 3) -> None: ...

    assert parameters_of(command) == [Parameter("file", str, FILE, REQUIRED), Parameter("depth", int, DEPTH, 3)]


def test_a_type_that_python_made_optional_is_the_one_that_was_declared() -> None:
    """Python 3.10 does that to every parameter that is None by default."""

    def command(depth: Optional[Annotated[int, DEPTH]] = None) -> None: ...  # noqa: UP045

    assert parameters_of(command) == [Parameter("depth", int, DEPTH, None)]
