"""From a trace to its findings: what an experienced reviewer would say about it. A rule is a small pure function."""

from __future__ import annotations

from fwdtrace.findings.backward_error import backward_error
from fwdtrace.findings.direct import direct_forward, stale_or_skipped, weights_not_made
from fwdtrace.findings.forward_error.rule import forward_error
from fwdtrace.findings.gradients import no_gradient
from fwdtrace.findings.modules import never_called, shared_module
from fwdtrace.findings.non_finite import non_finite
from fwdtrace.findings.unseen import fused_path, not_observed, unregistered_module
from fwdtrace.findings.values import hook_changed_value
from fwdtrace.findings.wrappers import bypassed_wrapper
from fwdtrace.trace import Finding, Trace

RULE_FUNCTIONS = (
    direct_forward,
    stale_or_skipped,
    weights_not_made,
    bypassed_wrapper,
    never_called,
    shared_module,
    non_finite,
    forward_error,
    not_observed,
    fused_path,
    no_gradient,
    hook_changed_value,
    unregistered_module,
    backward_error,
)


def find(trace: Trace) -> tuple[Finding, ...]:
    """All findings of the trace, rule by rule."""
    return tuple(finding for rule in RULE_FUNCTIONS for finding in rule(trace))
