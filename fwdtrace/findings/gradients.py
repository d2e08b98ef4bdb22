"""FT008: parameters that backward left without a gradient, with a zero one or with NaN, and where the path broke."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

from fwdtrace.findings.backward_error import was_refused
from fwdtrace.findings.faults import cause_of, event_of, gave_non_finite, step_of, why_zero
from fwdtrace.findings.flow import Break, Paths, requires_gradient
from fwdtrace.findings.places import all_modules_around, modules_around
from fwdtrace.trace import Call, Event, Finding, Gradient, GradientFault, Op, Site, Trace, tensors_in
from fwdtrace.trace.mechanisms import mechanism_of
from fwdtrace.trace.text import line_in_brackets, listed, name_of, plural, shape_text

_RECOMPUTED = ("_orig", "_g", "_v")
"""How the parameters end from which a mechanism such as weight_norm recomputes the weight in a hook."""
_USED_WITHOUT_A_CALL = ("ParameterList", "ParameterDict", "NonDynamicallyQuantizableLinear")
"""Modules that never run, as the module around them reads their parameters; the last is MultiheadAttention.out_proj."""
_OFF = {
    "no_grad": "ran under torch.no_grad()",
    "inference_mode": "ran under torch.inference_mode()",
    "checkpoint": (
        "ran in torch.utils.checkpoint(use_reentrant=True), and no tensor that was given to it requires a gradient,"
        " so backward never comes to it"
    ),
}
_FLOATS = ("float", "bfloat", "complex")


@dataclass(frozen=True, slots=True)
class _Reason:
    """What is wrong with a gradient, worded to follow the names of the parameters, and the line to look at.

    `{}` in the text stands for the name of the call. Parameters with the same text and line are one finding, and those
    with the same text and any line if it is the same `everywhere`.
    """

    text: str
    call: Call | None = None
    site: Site | None = None
    everywhere: bool = False


def no_gradient(trace: Trace) -> Iterator[Finding]:
    """FT008: one finding for each reason, with all parameters that it holds for."""
    gradients = trace.gradients or ()
    if not gradients or not trace.calls or trace.has_raised:
        return
    if not all(was_refused(trace, error) for error in trace.backward_errors):
        return
    arrived = any(gradient.norm is not None for gradient in gradients)
    if not arrived and any(requires_gradient(call.outputs) for call in trace.children()):
        began = any(call.backward for call in trace.calls)
        why = "backward began and came to none" if began else "no backward ran in the recording"
        yield Finding("FT008", "no-gradient", None, f"no parameter has a gradient: {why}")
        return
    groups: dict[tuple[str, Site | None], list[tuple[Gradient, _Reason]]] = {}
    for gradient, reason in _reasons(trace, gradients):
        key = reason.text, None if reason.everywhere else reason.site
        groups.setdefault(key, []).append((gradient, reason))
    in_module = Counter(module for gradient in gradients for module in modules_around(gradient.name))
    for (text, _), cases in groups.items():
        parameters = [gradient.name for gradient, _ in cases]
        names = _outermost_modules(parameters, in_module) if len(cases) < len(gradients) else ["every parameter"]
        elements = sum(prod(gradient.shape) for gradient, _ in cases)
        calls = list(dict.fromkeys(name_of(reason.call) for _, reason in cases if reason.call))
        first, site = cases[0][1].call, cases[0][1].site
        message = f"{listed(names)} ({plural(elements, 'parameter')}) {text.replace('{}', listed(calls))}"
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
    faults: dict[tuple[str, str], list[GradientFault]] = defaultdict(list)
    for fault in trace.gradient_faults:
        for name in fault.parameters:
            faults[name, fault.kind].append(fault)
    paths = Paths(trace)
    for gradient in gradients:
        module = gradient.name.rpartition(".")[0]
        if gradient.nan or gradient.inf:
            yield gradient, _non_finite(trace, faults[gradient.name, "non-finite"])
        elif gradient.norm is not None:
            if not gradient.norm:
                yield gradient, _zero(trace, faults[gradient.name, "zero"])
        elif not gradient.requires_grad:
            yield gradient, _Reason("got no gradient: frozen, requires_grad is False")
        elif faults[gradient.name, "none"]:
            yield gradient, _given_none(trace, faults[gradient.name, "none"][0])
        else:
            users = calls[module.rpartition(".")[0] if module in without_own_calls else module]
            in_vain = () if module in with_gradient else users  # a call whose other parameters have one is not at fault
            reason = _reason_in_calls(gradient, users) or _broken_path(trace, paths, gradient, in_vain)
            if reason is None and module in with_gradient:
                text = "got no gradient: {} ran, but what reached the loss does not depend on them"
                reason = _Reason(text, users[0], users[0].site)
            yield gradient, reason or _without_data_flow(trace, users[0])


def _non_finite(trace: Trace, faults: list[GradientFault]) -> _Reason:
    if not faults:
        return _Reason("got NaN or infinite gradients")
    if gave_non_finite(trace):
        return _Reason("got NaN or infinite gradients, as what the model gave was not finite")
    fault = cause_of(faults)
    event = event_of(trace, fault)
    if event is None:
        return _Reason("got NaN or infinite gradients, which came to the model like this: from the loss")
    text = "got NaN or infinite gradients, made in the backward of"
    if fault.between == "result":
        text = "got NaN or infinite gradients, made by a hook on the result of"
    elif fault.between == "parameter":
        text = "got NaN or infinite gradients, though they were finite at the end of the backward of"
    return _Reason(f"{text} {step_of(trace, fault, event)}", _call(trace, event), event.site)


def _zero(trace: Trace, faults: list[GradientFault]) -> _Reason:
    text = "got a gradient of exactly 0"
    if not faults:
        return _Reason(text)
    event = event_of(trace, faults[0])
    if event is None:
        return _Reason(f"{text}, which came to the model like this: the slope of the loss is 0 there")
    why = why_zero(trace, faults[0], event)
    made = f"{text}, made in the backward of {step_of(trace, faults[0], event)}"
    return _Reason(f"{made}: {why}" if why else made, _call(trace, event), event.site, everywhere=True)


def _given_none(trace: Trace, fault: GradientFault) -> _Reason:
    event = event_of(trace, fault)
    name = (fault.node or "").removesuffix("Backward")
    text = f"got no gradient: the backward of {name}, a torch.autograd.Function"
    if event is None:
        return _Reason(f"{text}, gave None")
    return _Reason(f"{text} in {{}}, gave None", _call(trace, event), event.site)


def _call(trace: Trace, event: Event) -> Call | None:
    """The call that an event is, or in which it is."""
    return event if isinstance(event, Call) else trace.caller(event)


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


def _broken_path(trace: Trace, paths: Paths, gradient: Gradient, users: Sequence[Call]) -> _Reason | None:
    """Where the paths from the parameter end, as far as the sources of the tensors tell; None if they tell nothing."""
    if trace.ops is None:
        return None
    ends = paths.breaks(gradient.name, users)
    if not ends:
        return None
    first = ends[0].event
    name = "{}" if len(ends) == 1 and isinstance(first, Call) else ""
    words = list(
        dict.fromkeys(_words(trace, end, name or name_of(end.event)) + _line(end.event, first) for end in ends)
    )
    return _Reason(f"got no gradient: {listed(words, 2)}", _call(trace, first), first.site)


def _words(trace: Trace, end: Break, name: str) -> str:
    event = end.event
    if end.kind == "off":
        return f"{name} {_OFF[event.without_grad or 'no_grad']}"
    if end.kind == "frozen":
        return f"it did not require one when {name} used it"
    if end.kind == "unseen":
        return f"what {name} returned has none, as it was made by what is not observed"
    if end.kind == "unused":
        return f"nothing that was observed used what {name} gave{_new_leaf(trace, event)}"
    if end.kind == "output":
        return f"backward did not come back through the output {end.output.removeprefix('.')}".rstrip()
    if end.kind == "others":
        return f"of what {name} gave, only what has no gradient was used"
    if not isinstance(event, Op):
        return f"what {name} returned requires none"
    return _cut(event, name)


def _new_leaf(trace: Trace, unused: Event) -> str:
    """What was used later in place of a result, if it has the same shape and came from nowhere; "" if nothing was."""
    given = {(tensor.shape, tensor.dtype) for tensor in tensors_in(unused.outputs) if tensor.shape}
    for op in trace.ops or ():
        for tensor in tensors_in(op.inputs) if op.id > unused.id and op.parent == unused.parent else ():
            if tensor.source is None and tensor.requires_grad and (tensor.shape, tensor.dtype) in given:
                line = f" in line {op.site.line}" if op.site is not None else ""
                return (
                    f"; what {op.name}{line} used of that shape, {shape_text(tensor.shape)}, came from elsewhere, such"
                    " as a new nn.Parameter, which begins a graph of its own"
                )
    return ""


def _line(event: Event, first: Event) -> str:
    """Where it is, if not at the line of the first, which the finding points at."""
    return line_in_brackets(event) if event.site != first.site else ""


def _cut(op: Op, name: str) -> str:
    """Why the result of an op has no gradient."""
    tensors = tensors_in(op.outputs)
    if not tensors:
        return f"{name} took {'numbers' if name == 'Tensor.tolist' else 'a number'} out of the graph"
    if all(tensor.dtype == "bool" for tensor in tensors):
        return f"{name} gives booleans, which have no gradient"
    if not any(tensor.dtype.startswith(_FLOATS) for tensor in tensors):
        return f"{name} gives integers, which have no gradient"
    if name in ("torch.tensor", "torch.as_tensor"):
        return f"{name} copied the numbers without the graph"
    return f"{name} cut the graph"


def _without_data_flow(trace: Trace, call: Call) -> _Reason:
    """Where no ops were recorded: what the calls show by themselves."""
    if requires_gradient(call.outputs):
        text = "got no gradient: backward never came to {}; with the ops recorded, it can be said where the path broke"
        return _Reason(text, call, call.site)
    outermost = call
    for caller in trace.callers(call):
        if requires_gradient(caller.outputs):
            break
        outermost = caller
    if outermost.without_grad is not None:
        return _Reason(f"got no gradient: {{}} {_OFF[outermost.without_grad]}", outermost, outermost.site)
    return _Reason("got no gradient: nothing that {} returned requires one", outermost, outermost.site)


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
