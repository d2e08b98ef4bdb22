"""FT005 and FT009: where NaN and infinities came up, and what hooks put in place of a value."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from fwdtrace.findings.words import listed, name_of
from fwdtrace.trace import Call, Finding, Hook, Leaf, NonFinite, Op, Site, TensorMeta, Trace, Value

_WRITTEN = ("-inf", "inf", "nan")


def non_finite(trace: Trace) -> Iterator[Finding]:
    """FT005: the first call or op to end that made NaN or infinities out of finite inputs."""
    nodes: list[Call | Op] = [*trace.calls, *(trace.ops or ())]
    if all(node.nonfinite is None for node in nodes):
        return
    spoiled = [node for node in _in_order_of_ending(trace) if node.nonfinite is not None]
    if not any(_of(node).nan or isinstance(node, Call) for node in spoiled):
        return  # infinities that ops alone saw are a mask, as a rule
    nan = next((node for node in spoiled if _of(node).nan), None)
    so_far = spoiled if nan is None else spoiled[: spoiled.index(nan) + 1]
    clean = [node for node in so_far if _of(node).inputs_finite]
    told = next((node for node in clean if not _on_purpose(node)), None)
    if nan is not None and _of(nan).inputs_finite:  # infinities that were there before did no harm
        told, message = nan, _made(trace, nan)
    elif told is not None:
        message = _made(trace, told)
        if nan is not None:
            message += f"; {_subject(trace, nan)} then made NaN of them{_line(nan)}"
    elif nan is not None and clean:
        told, source = nan, f"{_subject(trace, clean[0])}{_line(clean[0])}"
        message = f"{_subject(trace, nan)} made {_numbers(nan)} out of the infinite values of {source}"
    elif not clean:
        told = min(spoiled, key=lambda node: node.id)
        message = f"{_subject(trace, told)} was given NaN or infinite values: check the inputs of the model"
    else:
        return
    yield Finding("FT005", "non-finite", told.id if isinstance(told, Call) else told.parent, message, told.site)


def hook_changed_value(trace: Trace) -> Iterator[Finding]:
    """FT009: a hook replaced an input or output; one finding a hook, with the first call that it did so for."""
    changed: dict[tuple[str, str, str | None, int | None], list[tuple[Call, Hook]]] = {}
    for call in trace.calls:
        for hook in call.hooks:
            if hook.changed:
                changed.setdefault((hook.kind, hook.name, hook.file, hook.line), []).append((call, hook))
    for cases in changed.values():
        call, hook = cases[0]
        names = list(dict.fromkeys(name_of(call) for call, _ in cases))
        message = f"the hook {_short(hook.name)} replaced {_what(hook)} of {listed(names)}{_change(call, hook)}"
        site = Site(hook.file, hook.line, hook.name, "") if hook.file and hook.line else call.site
        yield Finding("FT009", "hook-changed-value", call.id, message, site)


def _in_order_of_ending(trace: Trace) -> Iterator[Call | Op]:
    """Calls and ops, each after all that ran inside it."""
    below: dict[int | None, list[Call | Op]] = {}
    nodes: list[Call | Op] = [*trace.calls, *(trace.ops or ())]
    for node in sorted(nodes, key=lambda node: node.id):
        below.setdefault(node.parent, []).append(node)
    pending: list[tuple[Call | Op, bool]] = [(node, False) for node in reversed(below.get(None, []))]
    while pending:
        node, is_done = pending.pop()
        if is_done or isinstance(node, Op):
            yield node
            continue
        pending.append((node, True))
        pending.extend((each, False) for each in reversed(below.get(node.id, [])))


def _of(node: Call | Op) -> NonFinite:
    assert node.nonfinite is not None
    return node.nonfinite


def _on_purpose(node: Call | Op) -> bool:
    """Whether an op was told to put infinities there, as for a mask."""
    return isinstance(node, Op) and any(isinstance(leaf, Value) and leaf.value in _WRITTEN for leaf in node.inputs)


def _subject(trace: Trace, node: Call | Op) -> str:
    if isinstance(node, Call):
        nth = f" #{node.nth}" if node.nth > 1 else ""
        return f"{name_of(node)}{nth} ({node.class_name})"
    return f"{node.name} in {name_of(trace.call(node.parent))}" if node.parent is not None else node.name


def _made(trace: Trace, node: Call | Op) -> str:
    own = _of(node).parameters
    source = f"with non-finite values in its {listed(own)}" if own else "out of finite inputs"
    return f"{_subject(trace, node)} made {_numbers(node)} {source}"


def _numbers(node: Call | Op) -> str:
    """`3 NaN and 1 infinite of 640 elements`."""
    counts = [f"{count:,} {word}" for count, word in ((_of(node).nan, "NaN"), (_of(node).inf, "infinite")) if count]
    elements = sum(prod(leaf.shape) for leaf in node.outputs if isinstance(leaf, TensorMeta))
    return f"{' and '.join(counts)} of {elements:,} element{'' if elements == 1 else 's'}"


def _line(node: Call | Op) -> str:
    return f" (line {node.site.line})" if node.site else ""


def _what(hook: Hook) -> str:
    return "the gradient" if "backward" in hook.kind else "the input" if "forward_pre" in hook.kind else "the output"


def _change(call: Call, hook: Hook) -> str:
    """What the input or output was before the hooks of the call and after them."""
    before, after = call.forward_outputs, call.outputs
    if "forward_pre" in hook.kind:
        before, after = call.inputs, call.forward_inputs or ()
    if before is None or "backward" in hook.kind:
        return ""
    old, new = _leaves(before), _leaves(after)
    return f": {new}, as before, with other values" if old == new else f": {old} became {new}"


def _leaves(leaves: tuple[Leaf, ...]) -> str:
    texts = [
        f"{'×'.join(map(str, leaf.shape)) or 'scalar'} {leaf.dtype}" if isinstance(leaf, TensorMeta) else leaf.value
        for leaf in leaves
    ]
    return listed(texts) if texts else "nothing"


def _short(name: str) -> str:
    """A function's name without its module; a class's hook is known by the class."""
    return name.replace(".<locals>", "").rsplit(".", 1)[-1]
