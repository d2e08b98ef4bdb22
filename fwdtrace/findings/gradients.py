"""FT008: parameters that backward left without a gradient, with a zero one or with NaN, and where the path broke."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from fwdtrace.findings.flow import Flow, requires_gradient
from fwdtrace.findings.places import all_modules_around, modules_around
from fwdtrace.trace import Call, Finding, Gradient, Site, Trace
from fwdtrace.trace.mechanisms import mechanism_of
from fwdtrace.trace.text import listed, name_of

_ZERO = (
    "got a gradient of exactly 0: the loss does not depend on them, or something behind them is dead: "
    "a ReLU that never fires, a weight of zeros"
)
_RECOMPUTED = ("_orig", "_g", "_v")
"""How the parameters end from which a mechanism such as weight_norm recomputes the weight in a hook."""
_USED_WITHOUT_A_CALL = ("ParameterList", "ParameterDict", "NonDynamicallyQuantizableLinear")
"""Modules that never run, as the module around them reads their parameters; the last is MultiheadAttention.out_proj."""


@dataclass(frozen=True, slots=True)
class _Reason:
    """What is wrong with a gradient, worded to follow the names of the parameters, and the line to look at.

    `{}` in the text stands for the name of the call. Parameters with the same text and line are one finding.
    """

    text: str
    call: Call | None = None
    site: Site | None = None


def no_gradient(trace: Trace) -> Iterator[Finding]:
    """FT008: one finding for each reason, with all parameters that it holds for."""
    gradients = trace.gradients or ()
    if not gradients or not trace.calls or any(call.error for call in trace.children()):
        return
    arrived = any(gradient.norm is not None for gradient in gradients)
    if not arrived and any(requires_gradient(call.outputs) for call in trace.children()):
        began = any(call.backward for call in trace.calls)
        why = "backward began and came to none" if began else "no backward ran in the recording"
        yield Finding("FT008", "no-gradient", None, f"no parameter has a gradient: {why}")
        return
    groups: dict[tuple[str, Site | None], list[tuple[Gradient, _Reason]]] = {}
    for gradient, reason in _reasons(trace, gradients):
        groups.setdefault((reason.text, reason.site), []).append((gradient, reason))
    in_module = Counter(module for gradient in gradients for module in modules_around(gradient.name))
    for (text, site), cases in groups.items():
        parameters = [gradient.name for gradient, _ in cases]
        names = _outermost_modules(parameters, in_module) if len(cases) < len(gradients) else ["every parameter"]
        elements = sum(prod(gradient.shape) for gradient, _ in cases)
        calls = list(dict.fromkeys(name_of(reason.call) for _, reason in cases if reason.call))
        first = cases[0][1].call
        message = f"{listed(names)} ({elements:,} parameters) {text.replace('{}', listed(calls))}"
        yield Finding("FT008", "no-gradient", first.id if first else None, message, site)


def _reasons(trace: Trace, gradients: tuple[Gradient, ...]) -> Iterator[tuple[Gradient, _Reason]]:
    """Every gradient with which something is wrong, and what."""
    calls: dict[str | None, list[Call]] = defaultdict(list)
    for call in trace.calls:
        for name in (call.path, *call.aliases):
            calls[name].append(call)
    without_own_calls = {module.path for module in trace.uncalled if module.class_name in _USED_WITHOUT_A_CALL}
    arrived = [gradient.name for gradient in gradients if gradient.norm is not None]
    with_gradient = all_modules_around(arrived) | ({""} if arrived else set())
    non_finite = _first_non_finite(trace, {_module(gradient) for gradient in gradients if _is_non_finite(gradient)})
    flow = Flow(trace)
    broken_paths: dict[str, _Reason] = {}
    for gradient in gradients:
        module = _module(gradient)
        if _is_non_finite(gradient):
            yield gradient, non_finite
        elif gradient.norm is not None:
            if not gradient.norm:
                yield gradient, _Reason(_ZERO)
        elif not gradient.requires_grad:
            yield gradient, _Reason("got no gradient: frozen, requires_grad is False")
        else:
            users = calls[module.rpartition(".")[0] if module in without_own_calls else module]
            reason = _reason_in_calls(gradient, users)
            if reason is None and module in with_gradient:
                text = "got no gradient: {} ran, but what reached the loss does not depend on them"
                reason = _Reason(text, users[0], users[0].site)
            if reason is None:
                if module not in broken_paths:
                    broken_paths[module] = _broken_path(flow, users[0])
                reason = broken_paths[module]
            yield gradient, reason


def _module(gradient: Gradient) -> str:
    return gradient.name.rpartition(".")[0]


def _is_non_finite(gradient: Gradient) -> bool:
    return bool(gradient.nan or gradient.inf)


def _first_non_finite(trace: Trace, modules: set[str]) -> _Reason:
    """Name the call of these modules whose backward ran first."""
    calls = [call for call in trace.calls if call.path in modules]
    if not calls:
        return _Reason("got NaN or infinite gradients")
    # Backward runs from the end: where its order was not recorded, the last call is the first in backward.
    first = min(calls, key=lambda call: (0, call.backward.order) if call.backward else (1, -call.id))
    text = f"got NaN or infinite gradients; backward met them first in {{}} ({first.class_name})"
    return _Reason(text, first, first.site)


def _reason_in_calls(gradient: Gradient, calls: list[Call]) -> _Reason | None:
    """A reason that the calls of the module show by themselves: there are none, they raised, or they skipped a hook."""
    if not calls:
        return _Reason("got no gradient: never called")
    if all(call.error for call in calls):
        return _Reason("got no gradient: {} raised, and the error was caught", calls[0], calls[0].site)
    if not gradient.name.endswith(_RECOMPUTED):
        return None
    for call in calls:
        for hook in call.hooks:
            mechanism = mechanism_of(hook)
            if call.entry == "forward" and mechanism is not None and not hook.fired:
                text = f"got no gradient: {mechanism.name} did not act, as the forward of {{}} ran without __call__"
                return _Reason(text, call, call.site)
    return None


def _broken_path(flow: Flow, call: Call) -> _Reason:
    """Follow the result of the call outwards, to where it no longer requires a gradient."""
    if not requires_gradient(call.outputs):
        outermost = flow.outermost_without_gradient(call)
        text = "got no gradient: nothing that {} returned requires one: run under no_grad, or detached"
        return _Reason(text, outermost, outermost.site)
    inner = call
    for caller in flow.trace.callers(call):
        cut = flow.cut_after(inner)
        if cut is not None:
            return _Reason(f"got no gradient: {name_of(cut)} cut the graph after {{}}", inner, cut.site)
        taker = flow.taker_of_detached(inner)
        if taker is not None:
            text = f"got no gradient: {name_of(taker)} got the result of {{}}, or one like it, detached"
            return _Reason(text, inner, taker.site)
        if not requires_gradient(caller.outputs):
            text = f"got no gradient: the result of {{}} was detached inside {name_of(caller)}"
            return _Reason(text, inner, inner.site)
        inner = caller
    text = "got no gradient: backward never came to {}, though what was returned requires a gradient"
    return _Reason(text, call, call.site)


def _outermost_modules(parameters: list[str], in_module: Counter[str]) -> list[str]:
    """The outermost modules that hold only these parameters, and those that are in no such module.

    `in_module` counts all parameters of the model in each module.
    """
    here = Counter(module for name in parameters for module in modules_around(name))
    names = (
        next((module for module in modules_around(name) if here[module] == in_module[module]), name)
        for name in parameters
    )
    return list(dict.fromkeys(names))
