"""FT008: parameters that backward left without a gradient, with a zero one or with NaN, and where the path broke."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from fwdtrace.findings.words import listed, name_of
from fwdtrace.trace import Call, Finding, Gradient, Leaf, Op, Site, TensorMeta, Trace
from fwdtrace.trace.mechanisms import mechanism_of

_ZERO = (
    "got a gradient of exactly 0: the loss does not depend on them, or something behind them is dead: "
    "a ReLU that never fires, a weight of zeros"
)
_NUMBERS = ("float", "bfloat", "complex")
_HOOKED = ("_orig", "_g", "_v")
"""What the mechanisms that recompute a weight in a hook call the parameters that it is made from."""
_HELD = ("ParameterList", "ParameterDict", "NonDynamicallyQuantizableLinear")
"""Modules that never run: the one around them reads their parameters; the last is MultiheadAttention.out_proj."""


@dataclass(frozen=True, slots=True)
class _Reason:
    """What is wrong with a gradient, as follows the names of the parameters, and the line to look at.

    `{}` in the text stands for the call it is about; calls that share text and line are told of together.
    """

    text: str
    call: Call | None = None
    site: Site | None = None


def no_gradient(trace: Trace) -> Iterator[Finding]:
    """FT008: one finding for each reason, with all parameters that it holds for."""
    gradients = trace.gradients or ()
    if not gradients or not trace.calls or any(call.error for call in trace.calls if call.parent is None):
        return
    began = any(call.backward for call in trace.calls)
    arrived = any(each.norm is not None for each in gradients)
    if not arrived and any(_requires(call.outputs) for call in trace.calls if call.parent is None):
        why = "backward began and came to none" if began else "no backward ran in the recording"
        yield Finding("FT008", "no-gradient", None, f"no parameter has a gradient: {why}")
        return
    alike: dict[tuple[str, Site | None], list[tuple[Gradient, _Reason]]] = {}
    for gradient, reason in _reasons(trace, gradients):
        alike.setdefault((reason.text, reason.site), []).append((gradient, reason))
    for (text, site), cases in alike.items():
        names = _collapsed([each.name for each, _ in cases], [each.name for each in gradients])
        elements = sum(prod(each.shape) for each, _ in cases)
        calls = list(dict.fromkeys(name_of(reason.call) for _, reason in cases if reason.call))
        first = cases[0][1].call
        message = f"{listed(names)} ({elements:,} parameters) {text.replace('{}', listed(calls) if calls else '')}"
        yield Finding("FT008", "no-gradient", first.id if first else None, message, site)


def _reasons(trace: Trace, gradients: tuple[Gradient, ...]) -> Iterator[tuple[Gradient, _Reason]]:
    """Every gradient that something is wrong with, and what."""
    arrived = {each.name[:end] for each in gradients if each.norm is not None for end in (0, *_ends(each.name))}
    non_finite = _first_non_finite(trace, {_module(each) for each in gradients if each.nan or each.inf})
    calls: dict[str | None, list[Call]] = defaultdict(list)
    for call in trace.calls:
        for name in (call.path, *call.aliases):
            calls[name].append(call)
    held = {each.path for each in trace.uncalled if each.class_name in _HELD}
    paths: dict[str, _Reason] = {}
    for each in gradients:
        module = _module(each)
        if each.nan or each.inf:
            yield each, non_finite
        elif each.norm is not None:
            if not each.norm:
                yield each, _Reason(_ZERO)
        elif not each.requires_grad:
            yield each, _Reason("got no gradient: frozen, requires_grad is False")
        else:
            own = calls[module.rpartition(".")[0] if module in held else module]
            if not own:
                yield each, _Reason("got no gradient: never called")
            elif all(call.error for call in own):
                yield each, _Reason("got no gradient: {} raised, and the error was caught", own[0], own[0].site)
            elif (skipped := _skipped_hook(own, each)) is not None:
                yield each, skipped
            elif module in arrived:
                text = "got no gradient: {} ran, but what reached the loss does not depend on them"
                yield each, _Reason(text, own[0], own[0].site)
            else:
                yield each, paths.get(module) or paths.setdefault(module, _broken_path(trace, own[0]))


def _module(gradient: Gradient) -> str:
    return gradient.name.rpartition(".")[0]


def _first_non_finite(trace: Trace, modules: set[str]) -> _Reason:
    """Backward runs from the end: without its order, the call that began last is the one that it met first."""
    calls = [call for call in trace.calls if call.path in modules]
    if not calls:
        return _Reason("got NaN or infinite gradients")
    first = min(calls, key=lambda call: (0, call.backward.order) if call.backward else (1, -call.id))
    text = f"got NaN or infinite gradients; backward met them first in {{}} ({first.class_name})"
    return _Reason(text, first, first.site)


def _skipped_hook(calls: list[Call], gradient: Gradient) -> _Reason | None:
    """A mechanism that would have computed with the parameter, had `forward` not been run directly."""
    for call in calls if gradient.name.endswith(_HOOKED) else ():
        for hook in call.hooks:
            mechanism = mechanism_of(hook)
            if call.entry == "forward" and mechanism is not None and not hook.fired:
                text = f"got no gradient: {mechanism.name} did not act, as the forward of {{}} ran without __call__"
                return _Reason(text, call, call.site)
    return None


def _broken_path(trace: Trace, call: Call) -> _Reason:
    """Follow the result of the call outwards, to where it no longer requires a gradient."""
    if not _requires(call.outputs):
        outer = call
        while outer.parent is not None and not any(map(_gives_gradient, _around(trace, outer))):
            outer = trace.call(outer.parent)
        text = "got no gradient: nothing that {} returned requires one: run under no_grad, or detached"
        return _Reason(text, outer, outer.site)
    inner: Call = call
    while inner.parent is not None:
        above = trace.call(inner.parent)
        cut = _cut_after(trace, inner)
        if cut is not None:
            return cut
        if not _requires(above.outputs):
            text = f"got no gradient: the result of {{}} was detached inside {name_of(above)}"
            return _Reason(text, inner, inner.site)
        inner = above
    text = "got no gradient: backward never came to {}, though what was returned requires a gradient"
    return _Reason(text, call, call.site)


def _around(trace: Trace, call: Call) -> list[Call]:
    """The caller of a call, and all that it called."""
    above = trace.call(call.parent) if call.parent is not None else None
    return [above, *trace.children(above)] if above is not None else []


def _gives_gradient(call: Call) -> bool:
    return _requires(call.outputs)


def _cut_after(trace: Trace, call: Call) -> _Reason | None:
    """The first op or call of the same forward that took what requires a gradient and gave what does not.

    Without one, the first call that took a tensor like the result of `call`, yet one that requires no gradient.
    """
    calls = [each for each in trace.children(trace.call(call.parent or 0)) if each.id > call.id]
    ops = [each for each in trace.ops or () if each.parent == call.parent and each.id > call.id]
    nodes: list[Call | Op] = [*calls, *ops]
    for node in sorted(nodes, key=lambda node: node.id):
        if _requires(node.inputs) and _has_numbers(node.outputs) and not _requires(node.outputs):
            name = node.name if isinstance(node, Op) else name_of(node)
            return _Reason(f"got no gradient: {name} cut the graph after {{}}", call, node.site)
    results = {(leaf.shape, leaf.dtype) for leaf in call.outputs if isinstance(leaf, TensorMeta) and leaf.requires_grad}
    for each in calls:
        if any(_is_like(leaf, results) for leaf in each.inputs) and not _requires(each.inputs):
            text = f"got no gradient: {name_of(each)} got the result of {{}}, or one like it, detached"
            return _Reason(text, call, each.site)
    return None


def _is_like(leaf: Leaf, results: set[tuple[tuple[int, ...], str]]) -> bool:
    return isinstance(leaf, TensorMeta) and (leaf.shape, leaf.dtype) in results


def _requires(leaves: tuple[Leaf, ...]) -> bool:
    return any(isinstance(leaf, TensorMeta) and leaf.requires_grad for leaf in leaves)


def _has_numbers(leaves: tuple[Leaf, ...]) -> bool:
    return any(isinstance(leaf, TensorMeta) and leaf.dtype.startswith(_NUMBERS) for leaf in leaves)


def _collapsed(names: list[str], all_names: list[str]) -> list[str]:
    """The names, and in place of all that a module holds, the name of the topmost such module."""
    if len(names) == len(all_names):
        return ["every parameter"]
    wanted = set(names)
    blocked = {name[:end] for name in all_names if name not in wanted for end in _ends(name)}
    shown = (next((name[:end] for end in _ends(name) if name[:end] not in blocked), name) for name in names)
    return list(dict.fromkeys(shown))


def _ends(name: str) -> list[int]:
    """Where the names of the modules around a parameter end."""
    return [index for index, character in enumerate(name) if character == "."]
