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
            if hook.changed:
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
    before, after = call.forward_outputs, call.outputs
    if "forward_pre" in hook.kind:
        before, after = call.inputs, call.forward_inputs or ()
    if before is None or "backward" in hook.kind:
        return ""
    old, new = _leaves(before), _leaves(after)
    return f": {new}, as before, with other values" if old == new else f": {old} became {new}"


def _leaves(leaves: tuple[Leaf, ...]) -> str:
    texts = [
        f"{shape_text(leaf.shape)} {leaf.dtype}" if isinstance(leaf, TensorMeta) else leaf.value for leaf in leaves
    ]
    return listed(texts) or "nothing"
