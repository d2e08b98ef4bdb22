"""What ran on each side, seen by the recorder and by probe hooks, in runs of their own: their numbers are not used."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import nn
from torch.nn.modules import module as module_hooks

from fwdtrace.compare.difference import Difference
from fwdtrace.compare.direct.comparison import Carried, Fired
from fwdtrace.compare.direct.enter import Enter
from fwdtrace.compare.direct.step import Snapshot
from fwdtrace.recorder.recorded import Options
from fwdtrace.recorder.recording import Recording
from fwdtrace.trace import Call, Trace
from fwdtrace.trace.mechanisms import kind_in_words, mechanism_name, short_name
from fwdtrace.trace.text import how_often, path_text

Run = Callable[[nn.Module, Callable[..., Any]], Snapshot]
"""One forward and backward of a model through what `Enter` returned for it."""

HookKey = tuple[str | None, str, str]
"""The path of a module, and the kind and the name of a hook on it."""

FORWARD_PROBES = ("forward_pre", "forward", "forward_always_call", "global_forward_pre", "global_forward")
BACKWARD_PROBES = ("full_backward_pre", "full_backward", "global_full_backward_pre", "global_full_backward")


def observed(model: nn.Module, enter: Enter, run: Run, spec: str | None, seed: int | None) -> Trace:
    """The trace of one forward and backward."""
    with Recording(model, Options(), spec, seed) as recording:
        run(model, enter(model))
    return recording.trace


def fired_on_both(called: Trace, direct: Trace, inventory: tuple[Carried, ...]) -> tuple[Fired, ...]:
    """Every registered hook, and every `__call__` of a class's own, with how often it ran on each side."""
    overrides = {item.path: item.name for item in inventory if item.kind == "call_override"}
    one, other = _hook_runs(called, overrides), _hook_runs(direct, overrides)
    return tuple(
        Fired(path, kind, name, one[path, kind, name], other[path, kind, name])
        for path, kind, name in dict.fromkeys((*one, *other))
    )


def differences_seen(
    called: Trace, direct: Trace, hooks: tuple[Fired, ...], target: str, call: str, entry: str
) -> Iterator[Difference]:
    """What the traces of both sides show: compiled or eager, how often each module ran, which hooks did not run."""
    if _runs_compiled(called, target) and not _runs_compiled(direct, target):
        message = f"{call} runs compiled code, {entry} runs eagerly"
        yield Difference("compiled", "cost", target, "compiled", "eager", message)
    elif not any(recorded.error for recorded in (*called.calls, *direct.calls)):
        yield from _other_counts(called, direct, call, entry)
    for hook in hooks:
        if hook.called != hook.direct:
            yield _hook_lost(hook, call, entry)


def probed(fresh: Callable[[], nn.Module], enter: Enter, target: str, run: Run) -> dict[str, int]:
    """How often a hook of each kind runs for the module at `target`, if one is added; kinds that raise are left out."""
    counts: dict[str, int] = {}
    for kinds in (FORWARD_PROBES, BACKWARD_PROBES):
        model = fresh()
        entry = enter(model)
        fired: Counter[str] = Counter()
        try:
            with _probes(model.get_submodule(target), kinds, fired), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                snapshot = run(model, entry)
        except RuntimeError:  # a ScriptModule refuses hooks
            continue
        if snapshot.raised is None:
            counts.update({kind: fired[kind] for kind in kinds})
    return counts


@contextmanager
def _probes(target: nn.Module, kinds: tuple[str, ...], fired: Counter[str]) -> Iterator[None]:
    """Hooks of these kinds on `target` inside a `with` block; each counts in `fired` how often it runs."""

    def counting(kind: str) -> Callable[..., None]:
        def probe(module: nn.Module, *_: Any) -> None:
            fired[kind] += module is target

        return probe

    register: dict[str, Callable[..., Any]] = {
        "forward_pre": target.register_forward_pre_hook,
        "forward": target.register_forward_hook,
        "forward_always_call": lambda hook: target.register_forward_hook(hook, always_call=True),
        "full_backward_pre": target.register_full_backward_pre_hook,
        "full_backward": target.register_full_backward_hook,
        "global_forward_pre": module_hooks.register_module_forward_pre_hook,
        "global_forward": module_hooks.register_module_forward_hook,
        "global_full_backward_pre": module_hooks.register_module_full_backward_pre_hook,
        "global_full_backward": module_hooks.register_module_full_backward_hook,
    }
    full = module_hooks._global_is_full_backward_hook  # registering sets it, and removing leaves it set
    with ExitStack() as stack:
        stack.callback(setattr, module_hooks, "_global_is_full_backward_hook", full)
        for kind in kinds:
            stack.callback(register[kind](counting(kind)).remove)
        yield


def _hook_runs(trace: Trace, overrides: dict[str, str]) -> Counter[HookKey]:
    runs: Counter[HookKey] = Counter()
    for call in trace.calls:
        for hook in call.hooks:
            if hook.kind not in ("call_override", "compiled"):
                runs[call.path, hook.kind, hook.name] += hook.fired
        if call.path in overrides:
            runs[call.path, "call_override", overrides[call.path]] += call.entry == "__call__"
    return runs


def _runs_compiled(trace: Trace, path: str) -> bool:
    """Whether the first call of a module went into compiled code before it reached `forward`."""
    first: Call | None = next((call for call in trace.calls if call.path == path), None)
    return first is not None and first.opaque == "compiled" and not first.chain


def _other_counts(called: Trace, direct: Trace, call: str, entry: str) -> Iterator[Difference]:
    one = Counter(recorded.path for recorded in called.calls if recorded.path)
    other = Counter(recorded.path for recorded in direct.calls if recorded.path)
    for path in dict.fromkeys((*one, *other)):
        if one[path] != other[path]:
            before, after = how_often(one[path]), how_often(other[path])
            message = f"{path} runs {before} in forward and backward of {call}, {after} of {entry}"
            yield Difference("calls", "cost", path, before, after, message)


def _hook_lost(hook: Fired, call: str, entry: str) -> Difference:
    name = mechanism_name(hook.kind, hook.name) or short_name(hook.name)
    before, after = how_often(hook.called), how_often(hook.direct)
    what = f"{name} ({kind_in_words(hook.kind)} on {path_text(hook.path)})"
    message = f"{what} runs {before} under {call}, {after} under {entry}"
    return Difference("hook", "observation", hook.path or "", before, after, message)
