"""The rules: each a function from a trace to its findings of one kind."""

from __future__ import annotations

from collections.abc import Iterator

from fwdtrace.findings.backward_error import backward_error
from fwdtrace.findings.direct import direct_forward, stale_or_skipped, weights_not_made
from fwdtrace.findings.gradients import no_gradient
from fwdtrace.findings.modules import never_called, shared_module
from fwdtrace.findings.non_finite import non_finite
from fwdtrace.findings.unseen import fused_path, not_observed, unregistered_module
from fwdtrace.findings.values import hook_changed_value
from fwdtrace.findings.wrappers import bypassed_wrapper
from fwdtrace.trace import Finding, Trace


def forward_error(trace: Trace) -> Iterator[Finding]:
    """FT006: the call or op that raised, and why."""
    if trace.has_raised:
        from fwdtrace.findings.forward_error import rule

        yield from rule.forward_error(trace)


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
