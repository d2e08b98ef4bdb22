"""Which modules are under observation and what they are called; wraps and unwraps the `forward` of their classes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from types import CellType, FunctionType, MethodType
from typing import Any
from weakref import ref

from torch import nn
from torch.nn.modules.module import Module

from fwdtrace.recorder.frames import frame_role
from fwdtrace.recorder.hooks import StandIn, put_in_place
from fwdtrace.recorder.notes import OpenCall, Recorded, SeenClass, SeenModule
from fwdtrace.recorder.session import Session, changing, running
from fwdtrace.recorder.tree import count_parameters, modules_and_names

_PLAIN = frozenset((bool, int, float, str, type(None)))

Observe = Callable[[Callable[..., Any]], Callable[..., Any]]
"""Makes the wrapper of a forward."""


def scan(session: Session, recorded: Recorded, observe: Observe) -> None:
    """Learn the names of all modules in the recording's tree and put their classes under observation."""
    recorded.tree_changed = False
    seen, names = session.seen, recorded.names
    for module, its_names in modules_and_names(recorded.root):
        names[seen.get(id(module)) or _add(session, module, observe)] = its_names


def meet(session: Session, module: nn.Module, stack: list[OpenCall], observe: Observe) -> SeenModule | None:
    """The entry of a module that is called for the first time; None if its calls belong to no recording."""
    with changing:
        return _met(session, module, stack, observe) if running.session is session else None


def _met(session: Session, module: nn.Module, stack: list[OpenCall], observe: Observe) -> SeenModule | None:
    for recorded in session.recordings:
        if recorded.tree_changed:
            scan(session, recorded, observe)
    entry = session.seen.get(id(module))
    if entry is not None:
        return entry
    if stack:
        entry = _add(session, module, observe)
        _name_below(session, module, entry, stack[-1])
        entry.parameters = count_parameters(module)  # now: it may be gone when the recording ends
        return entry
    # In a thread of its own only a replica is sure to be part of the model: DataParallel makes one for each thread.
    above = next((top for recorded in session.recordings for top in recorded.home[-1:]), None)
    if above is None or not getattr(module, "_is_replica", False):
        return None
    entry = _add(session, module, observe)
    _name_below(session, module, entry, above)
    return entry


def unwrap_classes(session: Session) -> None:
    """Give every class its own `forward` back, unless somebody else has replaced it meanwhile."""
    for cell, original, wrapper in reversed(session.closures):
        if cell.cell_contents is wrapper:
            cell.cell_contents = original
    for cls, wrapper in reversed(session.wrappers.items()):
        if cls.__dict__.get("forward") is wrapper:
            cls.forward = _original(wrapper)  # type: ignore[attr-defined]


def _add(session: Session, module: nn.Module, observe: Observe) -> SeenModule:
    cls = type(module)
    of = session.classes.get(cls) or _look_at(session, module, observe)
    entry = SeenModule(module, of, partial(_gone, id(module)))
    session.seen[id(module)] = entry
    if of.is_script:
        return entry
    own = vars(module)
    if callable(own.get("forward")):
        forward = own["forward"]
        put_in_place(own, "forward", StandIn(forward, MethodType(observe(_without_module(forward)), module)))
    for value in list(own.values()):
        kind = type(value)
        if kind in _PLAIN:
            continue
        if kind is MethodType:
            _watch_captured(session, own, list(own.items()), observe)
        elif isinstance(value, dict):
            if len(value) and MethodType in map(type, value.values()):
                _watch_captured(session, value, list(value.items()), observe)
        elif isinstance(value, list) and MethodType in map(type, value):
            _watch_captured(session, value, enumerate(value[:]), observe)
    return entry


def _look_at(session: Session, module: nn.Module, observe: Observe) -> SeenClass:
    """What there is to know of a module's class, whose forward is wrapped if it can be."""
    cls = type(module)
    if hasattr(cls, "real_recompile"):  # a lazy fx.GraphModule looks at the identity of its forward until compiled
        module.real_recompile()  # type: ignore[operator]
    of = session.classes[cls] = SeenClass(cls)
    if not of.is_script:
        _wrap_forwards(session, cls, observe)
    return of


def _gone(key: int, reference: ref[nn.Module]) -> None:
    # Not a method: a module that knew of its entry would outlive the recording until garbage is collected.
    session = running.session
    entry = session.seen.get(key) if session is not None else None
    if session is not None and entry is not None and entry.module is reference:
        del session.seen[key]


def _watch_captured(
    session: Session, holder: dict[Any, Any] | list[Any], items: Iterable[tuple[Any, Any]], observe: Observe
) -> None:
    """Put stand-ins for the bound forwards in a container, which were taken before their class was wrapped."""
    for key, value in items:
        if type(value) is not MethodType or not isinstance(value.__self__, Module):
            continue
        _wrap_forwards(session, type(value.__self__), observe)
        taken = getattr(value.__func__, "fwdtrace_original", value.__func__)  # if it was taken while we watched
        wrapper = next((wrapper for wrapper in session.wrappers.values() if _original(wrapper) is taken), None)
        if wrapper is not None:
            put_in_place(holder, key, StandIn(value, MethodType(wrapper, value.__self__)))


def _without_module(forward: Callable[..., Any]) -> Callable[..., Any]:
    """A forward that was set on the instance, as a function that also takes the module."""

    @frame_role("stand-in")
    def on_instance(_: nn.Module, /, *args: Any, **kwargs: Any) -> Any:
        return forward(*args, **kwargs)

    on_instance.__qualname__ = getattr(forward, "__qualname__", type(forward).__name__)
    return on_instance


def _wrap_forwards(session: Session, cls: type, observe: Observe) -> None:
    for base in cls.__mro__:
        original = base.__dict__.get("forward")
        if base is Module or base in session.wrappers or type(original) is not FunctionType:
            continue
        wrapper = observe(original)
        session.wrappers[base] = wrapper
        base.forward = wrapper  # type: ignore[attr-defined]
        # A forward that compares the class's forward with itself must go on finding itself there.
        for cell in original.__closure__ or ():
            if _contents(cell) is original:
                cell.cell_contents = wrapper
                session.closures.append((cell, original, wrapper))


def _original(wrapper: Any) -> Any:
    return wrapper.fwdtrace_original


def _contents(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # an empty cell
        return None


def _name_below(session: Session, module: nn.Module, entry: SeenModule, call: OpenCall) -> None:
    """Name a module that no tree holds but its caller does, as a DataParallel replica holds its children."""
    caller = call.seen.module()
    held = caller._modules.items() if caller is not None else ()
    name = next((key for key, child in held if child is module), None)
    if name is None and getattr(module, "_is_replica", False):
        name = next((key for key, child in held if type(child) is type(module)), None)
    if name is None:
        return
    for recorded in session.recordings:
        above = recorded.names.get(call.seen)
        if above is not None:
            recorded.names[entry] = (f"{above[0]}.{name}".lstrip("."),)
