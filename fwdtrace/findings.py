"""Trace -> findings: what an experienced reviewer would say on seeing the trace. One small pure function a rule."""

from __future__ import annotations

from fwdtrace.trace import Finding, Trace


def find(trace: Trace) -> tuple[Finding, ...]:
    """All findings of the trace, by code."""
    return ()
