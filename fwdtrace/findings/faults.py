"""The words for a GradientFault: why a step of backward made NaN or zeros, from autograd's name and the numbers."""

from __future__ import annotations

from collections.abc import Sequence

from fwdtrace.findings.domains import LIMITS, function_of, step_name, why_steep
from fwdtrace.trace import Call, Event, GradientFault, Op, Operand, Trace, Value, tensors_in
from fwdtrace.trace.mechanisms import short_name
from fwdtrace.trace.text import listed, name_of, shape_text

_FLAT = ("round", "floor", "ceil", "trunc", "sign", "sgn", "heaviside", "fix")
"""Functions whose derivative is 0 everywhere."""
_RECTIFIERS = ("relu", "threshold", "hardtanh", "relu6")
_SATURATE = ("sigmoid", "tanh", "softmax", "log_softmax")
_NORMALISE = ("native_layer_norm", "fused_rms_norm")
_PRODUCTS = ("mul", "mm", "addmm", "bmm", "baddbmm", "mv", "addmv", "dot", "convolution", "addcmul")
_NORMS = ("norm", "linalg_vector_norm")
_MULTIPLY, _MULTIPLIED = ("mm", "addmm", "bmm", "mv"), ("linear", "matmul")
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


def step_of(trace: Trace, fault: GradientFault, event: Event) -> str:
    """What the step is to a person, `{}` standing for the name of its call: `torch.sqrt in {}`, or `{}` of a layer."""
    if isinstance(event, Op):
        return f"{event.name} in {{}}"
    if not trace.made_by(event):
        return "{}"
    node = fault.node or ""  # of a step that no op or layer in the call made, as far as they are recorded
    return f"{step_name(node)} in {{}}"


def cause_of(faults: Sequence[GradientFault]) -> GradientFault:
    """The fault that a person should look at: the first that did not just work on NaN which forward had made."""
    return next((fault for fault in faults if _inherited(fault) is None), faults[0])


def _inherited(fault: GradientFault) -> Operand | None:
    """What the step had saved that was not finite, and is not its own result."""
    saved = (operand for operand in fault.operands if operand.name not in _OWN_RESULT and operand.stats is not None)
    return next((operand for operand in saved if operand.stats and (operand.stats.nan or operand.stats.inf)), None)


def why_spoiled(trace: Trace, fault: GradientFault, event: Event) -> str:
    """Why a finite gradient became NaN or infinite; "" if that is not known."""
    if (fault.node or "").startswith("BackwardHookFunction"):
        hooks = [short_name(hook.name) for hook in event.hooks if hook.changed] if isinstance(event, Call) else []
        return f"a backward hook made it{f', {listed(hooks)}' if hooks else ''}"
    reason, zero = _spoiled(fault, event), ""
    gradient = next((operand for operand in fault.operands if operand.name == "gradient"), None)
    if gradient is not None and _is_all(gradient, 0) and not gradient.everywhere:
        zero = "the gradient that came to it there is 0, and 0 times infinity or NaN is NaN"
        users = trace.flow.consumers(event)
        chooser = next((user for user in users if name_of(user) in _CHOOSE and user.site is not None), None)
        if chooser is not None and chooser.site is not None:
            zero = f"{name_of(chooser)} (line {chooser.site.line}) took none of these elements, but {zero}"
    elif not reason and gradient is not None and gradient.stats is not None and fault.inf and gradient.dtype in LIMITS:
        largest = max(abs(bound) for bound in (gradient.stats.min or 0, gradient.stats.max or 0))
        end = f"{gradient.dtype} ends at {LIMITS[gradient.dtype]}"
        return f"{end}, and the gradient that came to it goes up to {largest:,.4g}"
    return "; ".join(filter(None, (reason and _within(trace, fault, event) + reason, zero)))


def _spoiled(fault: GradientFault, event: Event) -> str:
    spoiled = _inherited(fault)
    if spoiled is not None:
        return f"its {_part(spoiled, event)} was not finite in forward already, which --check-finite looks for"
    steep = why_steep(function_of(fault.node or ""), [each for each in fault.operands if each.name != "gradient"])
    own = next((each.stats for each in fault.operands if each.name in ("result", "output")), None)
    if not steep and own is not None and (own.nan or own.inf) and not event.nonfinite:
        return "its own result was not finite there, which --check-finite looks for"
    return steep


def why_zero(trace: Trace, fault: GradientFault, event: Event) -> str:
    """Why a gradient that was not 0 became 0; "" if that is not known."""
    if "dropout" in (event.name if isinstance(event, Op) else event.class_name).lower():
        return "it dropped everything"
    if any(0 in leaf.shape for leaf in tensors_in(event.outputs)):
        return "it gave no element"
    total = next((operand for operand in fault.operands if operand.name == "total_weight"), None)
    if total is not None and _is_all(total, 0):
        return "every target is ignored"
    reason = _zeroed(fault, event)
    return reason and _within(trace, fault, event) + reason


def _zeroed(fault: GradientFault, event: Event) -> str:
    function = function_of(fault.node or "")
    saved = {operand.name: operand for operand in fault.operands if operand.name != "gradient"}
    result = saved.get("result") or saved.get("output")
    if function in _FLAT or (function == "div" and _was_given(event, "rounding_mode")):
        return "its derivative is 0 everywhere"
    if function in _NORMALISE and any(leaf.shape[-1:] == (1,) for leaf in tensors_in(event.outputs)):
        return "it normalises a single value, so its result does not depend on it"
    if result is not None and _is_all(result, 0) and function in (*_RECTIFIERS, *_NORMS):
        if function in _NORMS:
            return "the norm is 0 everywhere, where its gradient is taken to be 0"
        return "its result is 0 everywhere, as no element of its input is above 0: a dead ReLU"
    if result is not None and function == "softmax" and _is_all(result, 1):
        return "it runs over a single element, so that its result is always 1"
    if function == "softmax" and any(each.name == "gradient" and _is_even(each) for each in fault.operands):
        return "it got one gradient for all elements, as of their sum, which is 1 whatever its input is"
    if result is not None and function in _SATURATE and _is_saturated(result):
        return "its result is saturated everywhere, where its slope is 0"
    if function == "clamp":
        return "its input is beyond its limits everywhere"
    factors = [saved["weight"]] if "norm" in function and "weight" in saved else []
    for operand in saved.values() if function in _PRODUCTS else factors:
        if operand.dtype != "bool" and not operand.everywhere and _is_all(operand, 0):
            part = _part(operand, event)
            shape = f" of {shape_text(operand.shape)}" if operand.shape and part != "weight" else ""
            return f"its {part}{shape} is 0 everywhere"
    return ""


def _within(trace: Trace, fault: GradientFault, event: Event) -> str:
    """Which step of an op or a module is meant, if it is not that which its name says."""
    if isinstance(event, Call) and trace.made_by(event):
        return ""  # the step is named in place of the call
    function = function_of(fault.node or "")
    step = function.removeprefix("native_").replace("_", "")
    own = function_of(event.name).replace("_", "") if isinstance(event, Op) else event.class_name.lower()
    is_own = (
        step in own or own in step or (function in _MULTIPLY and own in _MULTIPLIED) or own[:4] == step[:4] == "conv"
    )
    return "" if is_own else f"in its step {function}, "


def _is_saturated(operand: Operand) -> bool:
    stats = operand.stats
    return stats is not None and {stats.min, stats.max} <= {-1.0, 0.0, 1.0} and not stats.nan


def _is_all(operand: Operand, number: float) -> bool:
    stats = operand.stats
    return stats is not None and stats.min == stats.max == number and not (stats.nan or stats.inf)


def _is_even(operand: Operand) -> bool:
    stats = operand.stats
    return stats is not None and stats.min is not None and _is_all(operand, stats.min)


def _was_given(event: Event, name: str) -> bool:
    return any(isinstance(leaf, Value) and leaf.name == name and leaf.value != "None" for leaf in event.inputs)


def _part(operand: Operand, event: Event) -> str:
    """What an operand is to a person."""
    names = _OF_LINEAR if isinstance(event, Call) and event.class_name == "Linear" else _OF_OPS
    return names.get(operand.name, operand.name)
