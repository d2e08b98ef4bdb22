"""What a model carries that acts through `__call__`, found without running it."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from fwdtrace.compare.direct.comparison import Carried
from fwdtrace.compare.direct.enter import WRAPPERS
from fwdtrace.recorder.hooks import list_hooks
from fwdtrace.trace.mechanisms import mechanism_name


def inventory_of(model: nn.Module) -> tuple[Carried, ...]:
    """Hooks, classes with a `__call__` of their own, compiled calls, and what is often taken for one of them."""
    return tuple(item for path, module in model.named_modules() for item in _carried_by(path, module))


def _carried_by(path: str, module: nn.Module) -> Iterator[Carried]:
    name = type(module).__name__
    if not path and name in WRAPPERS:
        wrapper = f"{type(module).__module__}.{type(module).__qualname__}"
        yield Carried("module", name, "wrapper", wrapper, mechanism_name("wrapper", wrapper))
    for hook in list_hooks(module).values():
        if hook.kind.startswith("global_") and path:
            continue  # said once, at the root: they are the process's, not the module's
        yield Carried(path, name, hook.kind, hook.name, mechanism_name(hook.kind, hook.name), hook.file, hook.line)
    for tensor, steps in getattr(module, "parametrizations", {}).items():
        kinds = ", ".join(type(part).__name__.lstrip("_") for part in steps)
        yield Carried(path, name, "parametrization", f"{kinds} of {tensor}")
    forward = module.__dict__.get("forward")
    if forward is not None:
        replaced = getattr(forward, "func", forward)
        yield Carried(path, name, "instance_forward", getattr(replaced, "__qualname__", type(replaced).__qualname__))
