"""`fwdtrace rule CODE`: explain a finding: what it means, a minimal example, the fix."""

from __future__ import annotations

from textwrap import fill, indent
from typing import TYPE_CHECKING, Annotated

from fwdtrace.cli.completion import codes
from fwdtrace.cli.declared import argument
from fwdtrace.cli.terminal import result_console
from fwdtrace.errors import FwdtraceError

if TYPE_CHECKING:
    from fwdtrace.findings.explained import Rule

WIDEST = 100
"""The most columns that an explanation takes: a longer line is hard to read."""


def rule(
    code: Annotated[
        str,
        argument(metavar="CODE", completion=codes, help="The code of a finding, FT001; none lists them all."),
    ] = "",
) -> None:
    """Explain a finding: what it means, a minimal example, the fix.

    Example: fwdtrace rule FT001
    """
    from fwdtrace.findings.explained import RULES

    width = min(result_console().width, WIDEST)
    if not code:
        print("\n".join(f"{rule.code}  {rule.name}" for rule in RULES))
        return
    explained = next((rule for rule in RULES if code.upper() in (rule.code, rule.name.upper())), None)
    if explained is None:
        known = ", ".join(f"{rule.code} ({rule.name})" for rule in RULES)
        raise FwdtraceError(f"there is no finding {code!r}; there are {known}")
    print(_text(explained, width))


def _text(rule: Rule, width: int) -> str:
    how = f"An example, model.py, for `fwdtrace run model.py:Net {rule.options}`:"
    return "\n\n".join(
        [
            f"{rule.code} {rule.name}",
            fill(rule.meaning, width, break_on_hyphens=False),
            fill(how, width, break_on_hyphens=False),
            indent(rule.example.rstrip(), "    "),
            fill(f"Fix: {rule.fix}", width, subsequent_indent="     ", break_on_hyphens=False),
        ]
    )
