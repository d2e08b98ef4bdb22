"""FT005: where NaN and infinities came up, in forward and in backward, and why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from fwdtrace.findings.domains import LIMITS, function_of, why_undefined
from fwdtrace.findings.faults import cause_of, event_of, gave_non_finite, step_of, why_spoiled
from fwdtrace.trace import Call, Event, Finding, NonFinite, Op, Operand, Site, Trace, Value, tensors_in
from fwdtrace.trace.text import line_in_brackets, listed, name_of, name_with_class, plural
from fwdtrace.trace.values import shapes_in

_GROW = (
    *("add", "addmm", "baddbmm", "bmm", "conv1d", "conv2d", "conv3d", "cosh", "cumprod", "cumsum", "einsum", "exp"),
    *("exp2", "expm1", "half", "linear", "matmul", "mm", "mul", "multiply", "pow", "prod", "sinh", "square", "sub"),
    *("sum", "to"),
)
"""Functions that make large numbers of smaller ones, or put them into a smaller type."""
_SUMS_OF_PRODUCTS = (
    *("addbmm", "addmm", "addmv", "baddbmm", "bilinear", "bmm", "conv1d", "conv2d", "conv3d", "conv_transpose1d"),
    *("conv_transpose2d", "conv_transpose3d", "dot", "einsum", "inner", "linear", "matmul", "mm", "mv", "tensordot"),
)
"""Functions that make NaN of finite numbers in one way alone: they get too large in between, in both directions."""
_LAYERS = (
    *("Bilinear", "Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d", "Linear"),
    "NonDynamicallyQuantizableLinear",
)
"""Modules of torch that do just that."""
_ALIGN = ("CTCLoss", "ctc_loss")
"""What makes infinities of finite numbers in one way alone: there is no way to spread a target over its frames."""
_PICK = ("Embedding", "EmbeddingBag", "embedding", "embedding_bag", "gather", "index_select", "[]")
"""Modules and functions that use some of a weight's elements in each call."""
_NON_FINITE_VALUES = ("-inf", "inf", "nan")


@dataclass(frozen=True, slots=True)
class _Spoiled:
    """A call or op with NaN or infinities in its outputs, and how many."""

    event: Event
    numbers: NonFinite

    @property
    def made_nan(self) -> bool:
        """Whether it has NaN, and no input had."""
        return bool(self.numbers.nan and (self.numbers.inputs_finite or self.numbers.operands))


def non_finite(trace: Trace) -> Iterator[Finding]:
    """FT005: the first call or op, of forward or of backward, that made NaN or infinities out of finite numbers."""
    forward = _in_forward(trace)
    backward = None if gave_non_finite(trace) else _in_backward(trace)  # else it is what forward made that came back
    if forward is not None and (backward is None or backward.site != forward[0].site):
        yield _finding(trace, *forward)
    if backward is not None:
        yield backward
    if forward is None and backward is None and trace.run.event == "nonfinite" and trace.calls:
        yield _finding(trace, trace.calls[0], _outside(trace))


def _finding(trace: Trace, event: Event, message: str, site: Site | None = None) -> Finding:
    call = event.id if isinstance(event, Call) else event.parent
    sites = (each.site for each in (event, *trace.callers(event)))  # torch's own containers call from no line of a user
    return Finding("FT005", "non-finite", call, message, site or next(filter(None, sites), None))


def _in_forward(trace: Trace) -> tuple[Event, str] | None:
    spoiled = [_Spoiled(event, event.nonfinite) for event in trace.events if event.nonfinite is not None]
    if all(isinstance(case.event, Op) and not case.numbers.nan for case in spoiled):
        spoiled = [case for case in spoiled if _overflows_half(case)]  # others that no call returned are often a mask's
    # In order of ending, so that what made the numbers comes before the calls around it, which pass them on.
    spoiled.sort(key=lambda case: (trace.end(case.event), -case.event.id))
    return _to_blame(trace, spoiled)


def _in_backward(trace: Trace) -> Finding | None:
    faults = [fault for fault in trace.gradient_faults if fault.kind == "non-finite"]
    if not faults:
        return None
    fault = cause_of(faults)
    event = event_of(trace, fault)
    if event is None:
        return None
    counts = _counts(fault.nan, fault.inf, fault.elements)
    why = why_spoiled(trace, fault, event)
    call = event if isinstance(event, Call) else trace.caller(event)
    step = step_of(trace, fault, event)
    name = name_with_class(call) if step == "{}" and call is not None else name_of(call) if call is not None else ""
    named = step.replace("{}", name)
    if fault.between == "result":
        made_so = f"a hook on what {named} gave made NaN or infinite values of its gradient, which was finite"
        return _finding(trace, event, made_so)
    if fault.between == "parameter":
        return _finding(
            trace,
            event,
            f"the gradient of {listed(fault.parameters)} was finite when the backward of {named} gave it, and is not"
            " now: a hook on the parameter, or what ran after backward, made it so",
        )
    if fault.site is not None:
        why = f"{fault.made_by} made them in {fault.site.function}"
    message = f"the backward of {named} made {counts} out of a finite gradient"
    return _finding(trace, event, f"{message}: {why}" if why else message, fault.site)


def _outside(trace: Trace) -> str:
    """What there is to say of a call after which gradients were not finite, if it did not make them so."""
    call = trace.calls[0]
    if trace.run.replay == "inexact":
        why = trace.run.replay_reason
        return f"{name_with_class(call)} was run again, but not as at first ({why}), so it is not seen where"
    if gave_non_finite(trace):
        return f"{name_with_class(call)} gave NaN or infinite values, and its calls and ops do not tell why"
    if any(gradient.nan or gradient.inf for gradient in trace.gradients or ()):
        return (
            f"the gradient that came to {name_with_class(call)} was not finite already: what is computed from its"
            f" output made it so, such as the loss"
        )
    if trace.run.rank is not None and not trace.run.grad:
        return f"{name_with_class(call)} gave finite values here, and others on another rank"
    maker = "another rank, or something beside it," if trace.run.rank is not None else "something beside it"
    return (
        f"the gradients were not finite before the step, and {name_with_class(call)} makes finite ones when it is run"
        f" again: {maker} made them so, such as a penalty on the weights or a scaling of the gradients"
    )


def _to_blame(trace: Trace, spoiled: list[_Spoiled]) -> tuple[Event, str] | None:
    """The call or op that a person should look at, and the message about it; None if infinities were meant."""
    position = next((index for index, case in enumerate(spoiled) if case.numbers.nan), None)
    nan = None if position is None else spoiled[position]
    up_to_nan = spoiled if position is None else spoiled[: position + 1]
    made = [case for case in up_to_nan if case.numbers.inputs_finite]
    inner = {case.event.id for case in made}
    producers = [case for case in made if not inner & set(range(case.event.id + 1, trace.end(case.event) + 1))]
    if nan is not None and nan.numbers.inputs_finite:
        return nan.event, _made(trace, nan)
    unintended = next((case for case in producers if not _writes_infinity(case.event)), None)
    if unintended is not None:
        message = _made(trace, unintended)
        if nan is not None:
            message += (
                f"; {_subject(trace, nan.event)} then made NaN of them{line_in_brackets(nan.event)}{_because(nan)}"
            )
        return unintended.event, message
    if nan is not None and producers:
        mask = producers[0].event
        source = f"the infinite values of {_subject(trace, mask)}{line_in_brackets(mask)}"
        return nan.event, f"{_subject(trace, nan.event)} made {_counts_of(nan)} out of {source}{_because(nan)}"
    if nan is not None and nan.made_nan:
        return nan.event, f"{_subject(trace, nan.event)} made {_counts_of(nan)} out of infinite values{_because(nan)}"
    if spoiled and not producers:
        given = nan or spoiled[0]
        maker = _maker_around(trace, given)
        if maker is not None:
            handed = f"its own code handed NaN or infinite values to {_subject(trace, given.event)}"
            message = f"{_subject(trace, maker)} was given finite values, and {handed}{line_in_brackets(given.event)}"
            return maker, message
        first = min((case.event for case in spoiled), key=lambda event: event.id)
        names = first.nonfinite.spoiled_inputs if first.nonfinite is not None else ()
        where = f" in {listed(names)}" if names else ""
        return first, f"{_subject(trace, first)} was given NaN or infinite values{where}: check the inputs of the model"
    return None


def _maker_around(trace: Trace, spoiled: _Spoiled) -> Call | None:
    """The innermost call around one with non-finite inputs that got finite ones: what it runs itself made them."""
    callers = trace.callers(spoiled.event)
    return next((each for each in callers if each.nonfinite is not None and each.nonfinite.inputs_finite), None)


def _overflows_half(case: _Spoiled) -> bool:
    """Whether an op made infinities in float16, which are not meant, of finite numbers."""
    half = any(leaf.dtype == "float16" for leaf in tensors_in(case.event.outputs))
    grows = isinstance(case.event, Op) and function_of(case.event.name) in _GROW
    return half and grows and case.numbers.inputs_finite and not _writes_infinity(case.event)


def _writes_infinity(event: Event) -> bool:
    """Whether an op was given infinity or NaN as an argument, as for a mask."""
    return isinstance(event, Op) and any(
        isinstance(leaf, Value) and leaf.value in _NON_FINITE_VALUES for leaf in event.inputs
    )


def _subject(trace: Trace, event: Event) -> str:
    if isinstance(event, Call):
        return name_with_class(event)
    caller = trace.caller(event)
    return f"{event.name} in {name_of(caller)}" if caller is not None else event.name


def _made(trace: Trace, spoiled: _Spoiled) -> str:
    own = spoiled.numbers.parameters
    its = "its " if isinstance(spoiled.event, Call) else ""
    source = (
        f"with non-finite values in {its}{listed(own)}{_since(trace, spoiled.event)}"
        if own
        else f"out of finite inputs{_because(spoiled)}"
    )
    return f"{_subject(trace, spoiled.event)} made {_counts_of(spoiled)} {source}"


def _since(trace: Trace, event: Event) -> str:
    """Since when weights have been not finite, that were so before the call: since a step, or since the call before."""
    step = next(iter(trace.run.last_steps[-1:]), None)
    if trace.run.event != "nonfinite":
        return ""
    if (event.class_name if isinstance(event, Call) else function_of(event.name)) in _PICK:
        return "; earlier calls may have used others of them"
    if step is None:
        before = (trace.run.call or 1) - 1
        says = f"; call {before:,} gave finite values, so these were written after it, or it did not use them"
        return says if before else ""
    if step.gradient_norm is None:
        return ""
    return (
        f"; the gradients of step {step.number:,} were finite, so the optimizer wrote such values, or what ran after it"
    )


def _because(spoiled: _Spoiled) -> str:
    """Why, with `: ` before it; "" if that is not known."""
    reason = _reason(spoiled.event, spoiled.numbers)
    return f": {reason}" if reason else ""


def _reason(event: Event, numbers: NonFinite) -> str:
    operands = numbers.operands
    function = function_of(event.name) if isinstance(event, Op) else ""
    if (event.class_name if isinstance(event, Call) else function) in _ALIGN and numbers.inputs_finite:
        return "a target does not fit its frames, of which it needs one for each label and one between two equal ones"
    masked = _hidden(event, function, operands)
    if masked or not operands:
        return masked or _of_nothing(event, function)
    reason = _of_nothing(event, function) or why_undefined(function, operands, event.inputs, bool(numbers.nan))
    dtype = next((leaf.dtype for leaf in tensors_in(event.outputs)), "")
    spoiled = any(each.stats is not None and (each.stats.nan or each.stats.inf) for each in operands)
    grows = isinstance(event, Call) or function in _GROW
    cancels = event.class_name in _LAYERS if isinstance(event, Call) else function in _SUMS_OF_PRODUCTS
    if reason or not ((numbers.inf and grows) or cancels) or spoiled or dtype not in LIMITS:
        return reason
    floats = [each.stats for each in operands if each.stats is not None and "float" in each.dtype]
    bounds = [bound for stats in floats for bound in (stats.min, stats.max) if bound is not None]
    end = f"{dtype} ends at {LIMITS[dtype]}"
    return f"{end}; its inputs go up to {max(map(abs, bounds)):,.4g}" if bounds else end


def _hidden(event: Event, function: str, operands: tuple[Operand, ...]) -> str:
    """That a mask leaves nothing in a row, over which a softmax has nothing to choose from."""
    for operand in operands:
        name = operand.name
        if name.endswith("key_padding_mask"):
            if rows := operand.true_rows or operand.infinite_rows:
                return f"{name} hides every key of {_numbered('example', rows)}"
        elif name.endswith("attn_mask") or (name == "mask" and isinstance(event, Call)):
            keeps = function == "scaled_dot_product_attention"  # there a mask is true where a key is seen
            if rows := (operand.false_rows if keeps else operand.true_rows) or operand.infinite_rows:
                return f"{name} hides every key in {_numbered('row', rows)}"
        elif function in ("softmax", "log_softmax") and (rows := operand.infinite_rows):
            if len(operand.shape) == 2:
                return f"its input is -inf from end to end in {_numbered('row', rows)}, as where a mask hides every key"
            where = _numbered("example", rows)
            return f"its input is -inf from end to end in some row of {where}, as where a mask hides every key"
    return ""


def _numbered(noun: str, numbers: tuple[int, ...]) -> str:
    """`row 3`, `rows 0, 1 and 4`."""
    return f"{noun if len(numbers) == 1 else f'{noun}s'} {listed([str(number) for number in numbers])}"


def _of_nothing(event: Event, function: str) -> str:
    """That the result is a mean, or a deviation, of too few elements."""
    shapes, results = shapes_in(event.inputs), shapes_in(event.outputs)
    if not shapes or not results:
        return ""
    given, elements = prod(shapes[0]), prod(results[0])
    if function in ("std", "var") and given == elements:
        return "it is over a single value, which has no deviation (correction=1 divides by 0)"
    if function in ("mean", "nanmean", "std", "var") and not given:
        return "it is over no element"
    if function in ("cross_entropy", "nll_loss") and isinstance(event, Op) and event.nonfinite is not None:
        target = next((each.stats for each in event.nonfinite.operands[1:2]), None)
        ignored = next(
            (leaf.value for leaf in event.inputs if isinstance(leaf, Value) and leaf.name == "ignore_index"), "-100"
        )
        if target is not None and target.min == target.max and f"{target.min:g}" == ignored:
            return f"every target is {ignored}, which is ignored, so it is a mean of nothing"
    return ""


def _counts_of(spoiled: _Spoiled) -> str:
    elements = sum(map(prod, shapes_in(spoiled.event.outputs)))
    return _counts(spoiled.numbers.nan, spoiled.numbers.inf, elements)


def _counts(nan: int, inf: int, elements: int) -> str:
    """`3 NaN and 1 infinite of 640 elements`."""
    counts = [f"{count:,} {word}" for count, word in ((nan, "NaN"), (inf, "infinite")) if count]
    return f"{' and '.join(counts)} of {plural(elements, 'element')}"
