"""Which modules are under observation and what they are called; wraps and unwraps the `forward` of their classes."""

from __future__ import annotations

from collections.abc import Callable
from types import CellType, CodeType, FunctionType, MethodType
from typing import Any

from torch import nn
from torch.nn.modules.module import Module

from fwdtrace.recorder.frames import is_ours
from fwdtrace.recorder.hooks import StandIn, put_in_place
from fwdtrace.recorder.notes import OpenCall, Recorded, SeenModule, changing, recordings, seen

Observe = Callable[[Callable[..., Any]], Callable[..., Any]]
"""Makes the wrapper of a forward."""

MOST_NAMES = 9
"""Names kept of one module, path and aliases; a tree that shares at every level has exponentially many."""

_wrapped: dict[type, FunctionType] = {}
_examined: set[type] = set()
_cells: list[tuple[CellType, Any, Any]] = []


def scan(recorded: Recorded, observe: Observe) -> None:
    """Learn the names of all modules in the recording's tree and put their classes under observation."""
    recorded.tree_changed = False
    for module, names in _names(recorded.root):
        entry = seen.get(id(module)) or _add(module, observe)
        entry.places[recorded] = names


def meet(module: nn.Module, stack: list[OpenCall], observe: Observe) -> SeenModule | None:
    """The entry of a module that is called for the first time; None if its calls belong to no recording."""
    with changing:
        return _met(module, stack, observe) if recordings else None


def _met(module: nn.Module, stack: list[OpenCall], observe: Observe) -> SeenModule | None:
    for recorded in recordings:
        if recorded.tree_changed:
            scan(recorded, observe)
    entry = seen.get(id(module))
    if entry is not None:
        return entry
    if stack:
        entry = _add(module, observe, _places_below(module, stack[-1]))
        entry.parameters = count_parameters(module)  # now: it may be gone when the recording ends
        return entry
    # In a thread of its own only a replica is sure to be part of the model: DataParallel makes one for each thread.
    above = next((top for recorded in recordings for top in recorded.home[-1:]), None)
    if above is None or not getattr(module, "_is_replica", False):
        return None
    return _add(module, observe, _places_below(module, above))


def count_parameters(module: nn.Module, *, recurse: bool = True) -> int:
    """The elements of all parameters in the module, shared ones once, those not yet initialised left out."""
    parameters = module.parameters(recurse)
    return sum(each.numel() for each in parameters if not isinstance(each, nn.UninitializedParameter))


def unwrap_classes() -> None:
    """Give every class its own `forward` back, unless somebody else has replaced it meanwhile."""
    for cell, original, wrapper in reversed(_cells):
        if cell.cell_contents is wrapper:
            cell.cell_contents = original
    _cells.clear()
    for cls, wrapper in reversed(_wrapped.items()):
        if cls.__dict__.get("forward") is wrapper:
            cls.forward = _original(wrapper)  # type: ignore[attr-defined]
    _wrapped.clear()
    _examined.clear()


def _add(module: nn.Module, observe: Observe, places: dict[object, tuple[str, ...]] | None = None) -> SeenModule:
    entry = SeenModule(module, places or {})
    seen[id(module)] = entry
    if entry.is_script:
        return entry
    if hasattr(module, "real_recompile"):  # a lazy fx.GraphModule looks at the identity of its forward until compiled
        module.real_recompile()  # type: ignore[operator]
    _wrap_forwards(type(module), observe)
    own = vars(module)
    if callable(own.get("forward")):
        forward = own["forward"]
        put_in_place(own, "forward", StandIn(forward, MethodType(observe(_without_module(forward)), module)))
    for attribute in list(own.values()):
        if isinstance(attribute, (list, dict)):
            _watch_captured(attribute, observe)
    _watch_captured(own, observe)
    return entry


def _watch_captured(holder: dict[Any, Any] | list[Any], observe: Observe) -> None:
    """Put stand-ins for the bound forwards in a container, which were taken before their class was wrapped."""
    for key, value in list(holder.items() if isinstance(holder, dict) else enumerate(holder)):
        if type(value) is not MethodType or not isinstance(value.__self__, Module):
            continue
        _wrap_forwards(type(value.__self__), observe)
        taken = getattr(value.__func__, "fwdtrace_original", value.__func__)  # if it was taken while we watched
        wrapper = next((found for found in _wrapped.values() if _original(found) is taken), None)
        if wrapper is not None:
            put_in_place(holder, key, StandIn(value, MethodType(wrapper, value.__self__)))


def _without_module(forward: Callable[..., Any]) -> Callable[..., Any]:
    """A forward that was set on the instance, as a function that also takes the module."""

    def on_instance(_: nn.Module, /, *args: Any, **kwargs: Any) -> Any:
        return forward(*args, **kwargs)

    on_instance.__qualname__ = getattr(forward, "__qualname__", type(forward).__name__)
    return on_instance


def _wrap_forwards(cls: type, observe: Observe) -> None:
    if cls in _examined:
        return
    _examined.add(cls)
    for base in cls.__mro__:
        original = base.__dict__.get("forward")
        if base is Module or base in _wrapped or type(original) is not FunctionType:
            continue
        wrapper = observe(original)
        _wrapped[base] = wrapper  # type: ignore[assignment]
        base.forward = wrapper  # type: ignore[attr-defined]
        # A forward that compares the class's forward with itself must go on finding itself there.
        for cell in original.__closure__ or ():
            if _contents(cell) is original:
                cell.cell_contents = wrapper
                _cells.append((cell, original, wrapper))


def _original(wrapper: Any) -> Any:
    return wrapper.fwdtrace_original


def _contents(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # an empty cell
        return None


def _names(root: nn.Module) -> list[tuple[nn.Module, tuple[str, ...]]]:
    """Every module of the tree with all its names, in the order of `named_modules`; cycles are entered once."""
    names: dict[nn.Module, list[str]] = {}
    pending: list[tuple[str, nn.Module, frozenset[int]]] = [("", root, frozenset())]
    while pending:
        name, module, above = pending.pop()
        known = names.setdefault(module, [])
        if id(module) in above or len(known) == MOST_NAMES:
            continue
        known.append(name)
        inside = above | {id(module)}
        prefix = name + "." if name else ""
        children = [(prefix + key, child, inside) for key, child in module._modules.items() if child is not None]
        pending.extend(reversed(children))
    return [(module, tuple(known)) for module, known in names.items()]


def _places_below(module: nn.Module, call: OpenCall) -> dict[object, tuple[str, ...]]:
    """The names of a module that no tree holds but its caller does, as a DataParallel replica holds its children."""
    caller = call.seen.module()
    held = caller._modules.items() if caller is not None else ()
    name = next((key for key, child in held if child is module), None)
    if name is None and getattr(module, "_is_replica", False):
        name = next((key for key, child in held if type(child) is type(module)), None)
    if name is None:
        return {}
    return {place: (f"{names[0]}.{name}".lstrip("."),) for place, names in call.seen.places.items()}


is_ours(next(constant for constant in _without_module.__code__.co_consts if isinstance(constant, CodeType)), "stand-in")
