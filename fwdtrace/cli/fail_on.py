"""`--fail-on CODES`: the findings that end a command with status 1, and where GitHub Actions shows them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from fwdtrace.cli.terminal import to_stderr
from fwdtrace.errors import FwdtraceError

if TYPE_CHECKING:
    from fwdtrace.trace import Finding


class AskedToFail(Exception):
    """What the user asked to fail on is there; the text says what it is."""


def codes_of(text: str) -> set[str]:
    """The codes that a text such as `FT001,direct-forward` or `any` names, in letters of either case.

    FwdtraceError if there is no such finding.
    """
    asked = {code.strip() for code in text.split(",") if code.strip()}
    if not asked:
        return asked
    from fwdtrace.findings.explained import RULES

    known = {rule.code for rule in RULES}
    if {code.lower() for code in asked} == {"any"}:
        return known
    by_name = {name.lower(): rule.code for rule in RULES for name in (rule.code, rule.name)}
    codes = {by_name.get(code.lower(), code) for code in asked}
    for code in sorted(codes - known):
        names = ", ".join(f"{rule.code} ({rule.name})" for rule in RULES)
        raise FwdtraceError(f"--fail-on {text}: there is no finding {code!r}; there are {names}, or any")
    return codes


def fail_if_found(findings: Iterable[Finding], codes: set[str]) -> None:
    """Raise AskedToFail if there is a finding with one of the codes."""
    if present := {finding.code for finding in findings} & codes:
        raise AskedToFail(f"failing as --fail-on asks: {', '.join(sorted(present))}")


def annotate(findings: Iterable[Finding], codes: set[str]) -> None:
    """In a workflow of GitHub, show each finding with one of the codes at its line, once."""
    if os.environ.get("GITHUB_ACTIONS") != "true":
        return
    for text in dict.fromkeys(_annotation(finding) for finding in findings if finding.code in codes):
        to_stderr(text)


def _annotation(finding: Finding) -> str:
    """The workflow command that shows a finding at its line; GitHub looks for the file in the checkout."""
    properties = {"title": f"{finding.code} {finding.name}"}
    if finding.site:
        checkout = os.environ.get("GITHUB_WORKSPACE", os.getcwd())
        file = Path(finding.site.file)
        inside = file.is_relative_to(checkout)
        properties |= {"file": str(file.relative_to(checkout) if inside else file), "line": str(finding.site.line)}
    listed = ",".join(f"{name}={_escaped(text, ':,')}" for name, text in properties.items())
    return f"::error {listed}::{_escaped(finding.message)}"


def _escaped(text: str, more: str = "") -> str:
    return "".join(f"%{ord(char):02X}" if char in "%\r\n" + more else char for char in text)
