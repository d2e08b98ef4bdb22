"""From a trace to its findings: what an experienced reviewer would say about it. A rule is a small pure function."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fwdtrace.trace import Finding, Trace


def find(trace: Trace) -> tuple[Finding, ...]:
    """All findings of the trace, rule by rule."""
    from fwdtrace.findings.rules import RULE_FUNCTIONS

    return tuple(finding for rule in RULE_FUNCTIONS for finding in rule(trace))
