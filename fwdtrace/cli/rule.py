"""`fwdtrace rule CODE`: explain a finding: what it means, a minimal example, the fix."""

from __future__ import annotations

from textwrap import fill, indent
from typing import Annotated

import typer

from fwdtrace.cli.results import result_console
from fwdtrace.errors import FwdtraceError
from fwdtrace.findings.explained import RULES, Rule

WIDEST = 100


def rule(
    code: Annotated[
        str, typer.Argument(metavar="CODE", help="The code of a finding, FT001; none lists them all.")
    ] = "",
) -> None:
    """Explain a finding: what it means, a minimal example, the fix.

    Example: fwdtrace rule FT001
    """
    width = min(result_console().width, WIDEST)
    if not code:
        typer.echo("\n".join(f"{each.code}  {each.name}" for each in RULES))
        return
    found = next((each for each in RULES if code.upper() in (each.code, each.name.upper())), None)
    if found is None:
        known = ", ".join(f"{each.code} ({each.name})" for each in RULES)
        raise FwdtraceError(f"there is no finding {code!r}; there are {known}")
    typer.echo(_text(found, width))


def _text(found: Rule, width: int) -> str:
    how = f"An example, model.py, for `fwdtrace run model.py:Net {found.options}`:"
    return "\n\n".join(
        [
            f"{found.code} {found.name}",
            fill(found.meaning, width, break_on_hyphens=False),
            fill(how, width, break_on_hyphens=False),
            indent(found.example.rstrip(), "    "),
            fill(f"Fix: {found.fix}", width, subsequent_indent="     ", break_on_hyphens=False),
        ]
    )
