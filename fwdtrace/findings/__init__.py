"""Trace -> findings: what an experienced reviewer would say on seeing the trace. One small pure function a rule."""

from __future__ import annotations

from fwdtrace.findings.coverage import not_observed, unregistered_module
from fwdtrace.findings.entries import direct_forward, stale_or_skipped
from fwdtrace.findings.errors import forward_error
from fwdtrace.trace import Finding, Trace

RULES = (direct_forward, stale_or_skipped, forward_error, not_observed, unregistered_module)


def find(trace: Trace) -> tuple[Finding, ...]:
    """All findings of the trace, by code."""
    return tuple(finding for rule in RULES for finding in rule(trace))
