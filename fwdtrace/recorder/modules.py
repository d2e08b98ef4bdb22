"""Which modules are under observation and what they are called; observes the `forward` of their classes."""

from __future__ import annotations

from collections.abc import Callable
from types import CellType, FunctionType, MethodType
from typing import Any

from torch import nn
from torch.nn.modules.module import Module

from fwdtrace.recorder.code_exchange import take_back_names
from fwdtrace.recorder.entered import forwards_of
from fwdtrace.recorder.frames import frame_role
from fwdtrace.recorder.hooks import StandIn, put_in_place
from fwdtrace.recorder.notes import OpenCall, SeenClass, SeenModule, seen_as
from fwdtrace.recorder.recorded import Recorded
from fwdtrace.recorder.session import Session, changing, running
from fwdtrace.recorder.torch_internals import without_torch_function
from fwdtrace.recorder.tree import count_parameters, modules_and_names
from fwdtrace.recorder.written import tables_written, writes_in_place

Observe = Callable[[FunctionType], Callable[[], None]]
"""Has a forward observed, and gives what ends that."""


def scan(session: Session, recorded: Recorded, observe: Observe) -> None:
    """Learn the names of all modules in the recording's tree and put their classes under observation."""
    recorded.tree_changed = False
    seen, names = session.seen, recorded.names
    for module, its_names in modules_and_names(recorded.root):
        names[seen.get(id(module)) or _add(session, module, observe)] = its_names


def include(session: Session, recorded: Recorded, module: nn.Module, observe: Observe) -> None:
    """Have the calls of a module in a recording though it is not in its tree, and has no name there; with its ops."""
    entry = session.seen.get(id(module)) or _add(session, module, observe)
    entry.shows_ops = True
    recorded.names.setdefault(entry, ())


def meet(session: Session, module: nn.Module, stack: list[OpenCall], observe: Observe) -> SeenModule | None:
    """The entry of a module that is called for the first time; None if its calls belong to no recording."""
    with changing, without_torch_function():
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
    if above is None or not module.__dict__.get("_is_replica"):
        return None
    entry = _add(session, module, observe)
    _name_below(session, module, entry, above)
    return entry


def let_forwards_go(session: Session) -> None:
    """Give every function that is a forward its own code back."""
    for _, put_back in reversed(session.forwards.values()):
        put_back()
    session.forwards.clear()
    take_back_names()


def _add(session: Session, module: nn.Module, observe: Observe) -> SeenModule:
    cls = type(module)
    of = session.classes.get(cls) or _look_at(session, module, observe)
    entry = session.seen[id(module)] = seen_as(module, of, _gone)
    entry.goes_straight &= session.straight
    entry.writes_unseen = tables_written(module, entry)
    forward = module.__dict__.get("forward")
    if forward is not None and not of.is_script and callable(forward):
        _watch_own(session, module, forward, observe)
    return entry


def _watch_own(session: Session, module: nn.Module, forward: Callable[..., Any], observe: Observe) -> None:
    """Observe a forward that was set on the instance; where it is that of a class, the function is observed already."""
    on_instance = _without_module(forward)
    _observe(session, on_instance, observe)
    put_in_place(vars(module), "forward", StandIn(forward, MethodType(on_instance, module)))


def _look_at(session: Session, module: nn.Module, observe: Observe) -> SeenClass:
    """What there is to know of a module's class, whose forward is observed from now on if it can be."""
    cls = type(module)
    if hasattr(cls, "real_recompile"):  # a lazy fx.GraphModule has another forward from its first call on
        module.real_recompile()  # type: ignore[operator]
    of = session.classes[cls] = SeenClass(cls)
    of.writes_in_place = of.is_users and writes_in_place(cls)
    if not of.is_script:
        _observe_forwards(session, cls, observe)
    of.forwards = frozenset(map(id, forwards_of(cls)))
    return of


def _gone(entry: SeenModule) -> None:
    # Not a method: a module that knew of its session would keep it until garbage is collected.
    session = running.session
    if session is not None and session.seen.get(entry.key) is entry:
        del session.seen[entry.key]


def _without_module(forward: Callable[..., Any]) -> FunctionType:
    """A forward that was set on the instance, as a function that also takes the module."""

    @frame_role("stand-in")
    def on_instance(_: nn.Module, /, *args: Any, **kwargs: Any) -> Any:
        return forward(*args, **kwargs)

    on_instance.__qualname__ = getattr(forward, "__qualname__", type(forward).__name__)
    return on_instance  # type: ignore[return-value]


def _observe_forwards(session: Session, cls: type, observe: Observe) -> None:
    """Observe the forwards of a class and its bases."""
    for base in cls.__mro__:
        forward = base.__dict__.get("forward")
        if base is not Module and type(forward) is FunctionType:
            _observe(session, forward, observe)


def _observe(session: Session, forward: FunctionType, observe: Observe) -> None:
    if id(forward) in session.forwards:
        return
    inner = [forward.__dict__.get("__wrapped__"), *map(_contents, forward.__closure__ or ())]
    session.forwards[id(forward)] = forward, observe(forward)
    # A decorator may hand the forward that it found to others, as activation checkpointing does to run it in backward.
    for function in inner:
        if type(function) is FunctionType and function.__name__ == "forward":
            _observe(session, function, observe)


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
    if name is None and module.__dict__.get("_is_replica"):
        name = next((key for key, child in held if type(child) is type(module)), None)
    if name is None:
        return
    for recorded in session.recordings:
        above = recorded.names.get(call.seen)
        if above is not None:
            recorded.names[entry] = (f"{above[0]}.{name}".lstrip("."),)
