"""The words for a GradientFault: why a step of backward made NaN or zeros, from autograd's name and the numbers."""

from __future__ import annotations

from collections.abc import Sequence

from fwdtrace.findings.domains import LIMITS, function_of, why_steep
from fwdtrace.trace import Call, Event, GradientFault, Op, Operand, Trace, Value, tensors_in
from fwdtrace.trace.text import name_of, shape_text

_FLAT = ("round", "floor", "ceil", "trunc", "sign", "sgn", "heaviside", "fix")
"""Functions whose derivative is 0 everywhere."""
_RECTIFIERS = ("relu", "threshold", "hardtanh", "relu6")
_SATURATE = ("sigmoid", "tanh", "softmax", "log_softmax")
_NORMALISE = ("native_layer_norm", "fused_rms_norm")
_PRODUCTS = ("mul", "mm", "addmm", "bmm", "baddbmm", "mv", "addmv", "dot", "convolution", "addcmul")
_NORMS = ("norm", "linalg_vector_norm")
_CHOOSE = ("torch.where", "Tensor.where", "torch.masked_fill", "Tensor.masked_fill")
_OWN_RESULT = ("gradient", "result", "output")
_OF_LINEAR = {"mat1": "input", "mat2": "weight", "self": "input"}
_OF_OPS = {"self": "input", "other": "other operand", "mat1": "first operand", "mat2": "second operand"}
"""What autograd calls the operands of a layer or an op, and what a person would."""


def event_of(trace: Trace, fault: GradientFault) -> Event | None:
    """The call or op whose backward went wrong; None if the gradient came to the model like this."""
    return next((event for event in trace.events if event.id == fault.event), None) if fault.event is not None else None


def gave_non_finite(trace: Trace) -> bool:
    """Whether the model itself returned NaN or infinities, so that those of backward are no wonder."""
    return any(call.nonfinite is not None for call in trace.children())


def cause_of(faults: Sequence[GradientFault]) -> GradientFault:
    """The fault that a person should look at: the first that did not just work on NaN which forward had made."""
    return next((fault for fault in faults if _inherited(fault) is None), faults[0])


def _inherited(fault: GradientFault) -> Operand | None:
    """What the step had saved that was not finite, and is not its own result."""
    saved = (operand for operand in fault.operands if operand.name not in _OWN_RESULT and operand.stats is not None)
    return next((operand for operand in saved if operand.stats and (operand.stats.nan or operand.stats.inf)), None)


def why_spoiled(trace: Trace, fault: GradientFault, event: Event) -> str:
    """Why a finite gradient became NaN or infinite; "" if that is not known."""
    spoiled = _inherited(fault)
    if spoiled is not None:
        return f"{_part(spoiled, fault, event)} was not finite in forward already, which --check-finite looks for"
    gradient = next((operand for operand in fault.operands if operand.name == "gradient"), None)
    reason = why_steep(function_of(fault.node or ""), [each for each in fault.operands if each is not gradient])
    own = next((each.stats for each in fault.operands if each.name in ("result", "output")), None)
    if not reason and own is not None and (own.nan or own.inf) and not event.nonfinite:
        reason = "its own result was not finite there, which --check-finite looks for"
    if gradient is None or gradient.stats is None:
        return reason
    if _is_all(gradient, 0) and not gradient.everywhere:
        zero = "the gradient that came to it there is 0, and 0 times infinity or NaN is NaN"
        users = trace.flow.consumers(event)
        chooser = next((user for user in users if name_of(user) in _CHOOSE and user.site is not None), None)
        if chooser is not None and chooser.site is not None:
            zero = f"{name_of(chooser)} (line {chooser.site.line}) took none of these elements, but {zero}"
        return f"{reason}; {zero}" if reason else zero
    if reason or not fault.inf or gradient.dtype not in LIMITS:
        return reason
    largest = max(abs(bound) for bound in (gradient.stats.min or 0, gradient.stats.max or 0))
    return (
        f"{gradient.dtype} ends at {LIMITS[gradient.dtype]}, and the gradient that came to it goes up to {largest:,.4g}"
    )


def why_zero(fault: GradientFault, event: Event) -> str:
    """Why a gradient that was not 0 became 0; "" if that is not known."""
    function = function_of(fault.node or "")
    saved = {operand.name: operand for operand in fault.operands if operand.name != "gradient"}
    result = saved.get("result") or saved.get("output")
    if function in _FLAT or (function == "div" and _was_given(event, "rounding_mode")):
        return "its derivative is 0 everywhere"
    if "dropout" in (event.name if isinstance(event, Op) else event.class_name).lower():
        return "it dropped everything"
    if function in _RECTIFIERS and result is not None and _is_all(result, 0):
        return "its result is 0 everywhere, as no element of its input is above 0: a dead ReLU"
    if function == "softmax" and result is not None and _is_all(result, 1):
        return "it runs over a single element, so that its result is always 1"
    if function in _SATURATE and result is not None and _is_saturated(result):
        return "its result is saturated everywhere, where its slope is 0"
    if function in _NORMALISE and any(leaf.shape[-1:] == (1,) for leaf in tensors_in(event.outputs)):
        return "it normalises a single value, so its result does not depend on it"
    if function in _NORMS and result is not None and _is_all(result, 0):
        return "the norm is 0 everywhere, where its gradient is taken to be 0"
    if function in ("nll_loss", "nll_loss2d") and (total := saved.get("total_weight")) and _is_all(total, 0):
        return "every target is ignored"
    if any(0 in leaf.shape for leaf in tensors_in(event.outputs)):
        return "it gave no element"
    factors = [saved["weight"]] if "norm" in function and "weight" in saved else []
    for operand in saved.values() if function in _PRODUCTS else factors:
        if operand.dtype != "bool" and not operand.everywhere and _is_all(operand, 0):
            part = _part(operand, fault, event)
            return f"{part} is 0 everywhere" if part == "its weight" else f"{part} of {shape_text(operand.shape)} is 0"
    return "its input is beyond its limits everywhere" if function == "clamp" else ""


def _is_saturated(operand: Operand) -> bool:
    stats = operand.stats
    return stats is not None and {stats.min, stats.max} <= {-1.0, 0.0, 1.0} and not stats.nan


def _is_all(operand: Operand, number: float) -> bool:
    stats = operand.stats
    return stats is not None and stats.min == stats.max == number and not (stats.nan or stats.inf)


def _was_given(event: Event, name: str) -> bool:
    return any(isinstance(leaf, Value) and leaf.name == name and leaf.value != "None" for leaf in event.inputs)


def _part(operand: Operand, fault: GradientFault, event: Event) -> str:
    """What an operand is to a person; of a step within an op or a layer, what autograd calls it there."""
    function = function_of(fault.node or "")
    if isinstance(event, Call):
        part = _OF_LINEAR.get(operand.name) if event.class_name == "Linear" else None
        part = operand.name if function == "convolution" and operand.name == "input" else part
    else:
        part = _OF_OPS.get(operand.name) if function_of(event.name) == function or len(event.name) < 3 else None
    if operand.name == "weight":
        part = "weight"
    return f"its {part}" if part else f"the `{operand.name}` of its step {function}"
