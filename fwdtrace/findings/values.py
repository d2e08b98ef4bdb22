"""FT009: the values that hooks replaced."""

from __future__ import annotations

from collections.abc import Iterator

from fwdtrace.trace import Call, Finding, Hook, Leaf, Site, TensorMeta, Trace
from fwdtrace.trace.mechanisms import short_name
from fwdtrace.trace.text import listed, name_of, shape_text


def hook_changed_value(trace: Trace) -> Iterator[Finding]:
    """FT009: a hook replaced inputs or outputs; one finding for each hook, about the first call that it changed."""
    changed: dict[tuple[str, str, str | None, int | None], list[tuple[Call, Hook]]] = {}
    for call in trace.calls:
        for hook in call.hooks:
            if hook.changed and not _is_mixed_precision(call, hook):
                changed.setdefault((hook.kind, hook.name, hook.file, hook.line), []).append((call, hook))
    for cases in changed.values():
        call, hook = cases[0]
        names = list(dict.fromkeys(name_of(call) for call, _ in cases))
        message = f"the hook {short_name(hook.name)} replaced {_what(hook)} of {listed(names)}{_change(call, hook)}"
        site = Site(hook.file, hook.line, hook.name, "") if hook.file and hook.line else call.site
        yield Finding("FT009", "hook-changed-value", call.id, message, site)


def _what(hook: Hook) -> str:
    return "the gradient" if "backward" in hook.kind else "the input" if "forward_pre" in hook.kind else "the output"


def _change(call: Call, hook: Hook) -> str:
    """The input or output before the hooks of the call ran, and after."""
    before, after = _around(call, hook)
    if before is None:
        return ""
    old, new = _leaves(before), _leaves(after)
    return f": {new}, as before, with other values" if old == new else f": {old} became {new}"


def _around(call: Call, hook: Hook) -> tuple[tuple[Leaf, ...] | None, tuple[Leaf, ...]]:
    if "backward" in hook.kind:
        return None, ()
    if "forward_pre" in hook.kind:
        return call.inputs, call.forward_inputs or ()
    return call.forward_outputs, call.outputs


def _is_mixed_precision(call: Call, hook: Hook) -> bool:
    """Whether a hook of torch's own, as of FSDP, has done nothing but cast, which it was asked for."""
    before, after = _around(call, hook)
    if before is None or "torch/distributed/" not in (hook.file or "").replace("\\", "/"):
        return False
    same = [_without_dtype(leaf) for leaf in before] == [_without_dtype(leaf) for leaf in after]
    return same and _leaves(before) != _leaves(after)


def _without_dtype(leaf: Leaf) -> object:
    return leaf.shape if isinstance(leaf, TensorMeta) else leaf.value


def _leaves(leaves: tuple[Leaf, ...]) -> str:
    texts = [
        f"{shape_text(leaf.shape)} {leaf.dtype}" if isinstance(leaf, TensorMeta) else leaf.value for leaf in leaves
    ]
    return listed(texts) or "nothing"
