"""FT003 and FT004: modules that did not run, and modules that ran for several places."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from fwdtrace.findings.words import listed, name_of
from fwdtrace.trace import Call, Finding, Site, Trace, Uncalled

_PARAMETER_HOLDERS = ("ParameterList", "ParameterDict", "BufferList", "BufferDict")
_USERS = {
    "MultiheadAttention": "MultiheadAttention reads the weights itself",
    "TransformerEncoderLayer": "the fused path of TransformerEncoderLayer reads the weights itself",
}
"""What happens to the weights of a module that did not run, by the class of the module around it."""
_NORMS = re.compile(r"(Sync)?BatchNorm|LazyBatchNorm")


def never_called(trace: Trace) -> Iterator[Finding]:
    """FT003: modules with parameters that did not run, told apart by whether their weights were used all the same.

    Equal ones, such as the experts that no token went to, are one finding.
    """
    if not trace.calls or any(call.error for call in trace.calls if call.parent is None):
        return  # what comes after an error never had its turn
    used: dict[str, list[Uncalled]] = {}
    unused: dict[str, list[Uncalled]] = {}
    classes = {name: call.class_name for call in trace.calls for name in (call.path, *call.aliases)}
    arrived = {each.name[:end] for each in trace.gradients or () if each.norm is not None for end in _ends(each.name)}
    for module in _idle(trace):
        user = _USERS.get(classes.get(module.path.rpartition(".")[0], ""))
        if user is None and module.path in arrived:
            user = "the weights got gradients, so something reads them directly"
        group = used.setdefault(user, []) if user else unused.setdefault(_kind(module.path), [])
        group.append(module)
    for user, modules in used.items():
        message = f"{_described(modules)} did not run, but {user}; a hook there never fires"
        yield Finding("FT003", "never-called", None, message)
    for modules in unused.values():
        message = (
            f"{_described(modules)} did not run; unless something reads the weights directly, they get no gradient"
        )
        yield Finding("FT003", "never-called", None, message)


def shared_module(trace: Trace) -> Iterator[Finding]:
    """FT004: a module with parameters that is called from several places, or has several names; the topmost alone."""
    by_path: dict[str, list[Call]] = {}
    for call in trace.calls:
        if call.path and call.parent is not None and call.parameters:
            by_path.setdefault(call.path, []).append(call)
    for calls in by_path.values():
        first = calls[0]
        if len(calls) == 1 and not first.aliases:
            continue
        sites = _sites(trace, calls)
        names = (first.path or "", *first.aliases)
        if first.aliases and not _named_by_parent(trace, first):
            ways = f"is one module under {len(names)} names: {listed(names)}; state_dict has it under each"
        elif len(sites) > 1:
            ways = f"ran {len(calls)} times, from {listed(sites)}, with the same weights"
        else:
            continue
        mixed = " and running statistics, which then mix" if trace.model.training and _is_norm(first) else ""
        message = f"{name_of(first)} ({first.class_name}) {ways}{mixed}"
        yield Finding("FT004", "shared-module", first.id, message, first.site)


def _idle(trace: Trace) -> list[Uncalled]:
    """The topmost modules in which nothing ran, each with the parameters of all that is in it."""
    if not trace.uncalled:
        return []
    names = {name for call in trace.calls for name in (call.path, *call.aliases) if name is not None}
    active: set[str] = set()
    for name in names:
        around = name
        while around not in active:  # what is around an active name is active already
            active.add(around)
            around = around.rpartition(".")[0] or around
    hidden = tuple(
        f"{call.path}." if call.path else "" for call in trace.calls if call.opaque and call.path is not None
    )
    tops: dict[str, Uncalled] = {}
    for module in trace.uncalled:
        if module.class_name in _PARAMETER_HOLDERS or module.path.startswith(hidden):
            continue
        path = next((module.path[:end] for end in _ends(module.path) if module.path[:end] not in active), module.path)
        known = tops.get(path)
        count = module.parameters + (known.parameters if known else 0)
        tops[path] = Uncalled(path, module.class_name if path == module.path else "", count)
    return list(tops.values())


def _ends(name: str) -> list[int]:
    """Where the names of the modules around this one end, and its own: those of `a.b` at 1 and 3."""
    return [index for index, character in enumerate(name) if character == "."] + [len(name)]


def _kind(path: str) -> str:
    return re.sub(r"\d+", "#", path)


def _described(modules: list[Uncalled]) -> str:
    return f"{listed([each.path for each in modules])} ({sum(each.parameters for each in modules):,} parameters)"


def _sites(trace: Trace, calls: Iterable[Call]) -> list[str]:
    """The lines from which the module was called, each with the module whose forward it is in."""
    sites: dict[tuple[str | None, Site | None], str] = {}
    for call in calls:
        if call.parent is None:
            continue
        parent = trace.call(call.parent)
        # Below nn.Sequential and the like the line is that of their caller, which is told of instead.
        site = call.site if call.site != parent.site else None
        sites[parent.path, site] = f"line {site.line} in {name_of(parent)}" if site else name_of(parent)
    return list(sites.values())


def _named_by_parent(trace: Trace, call: Call) -> bool:
    """Whether all further names of the module are those of a module around it, which is told of instead."""
    parent = trace.call(call.parent) if call.parent is not None else None
    if parent is None or not parent.aliases or not (call.path or "").startswith(f"{parent.path}."):
        return False
    rest = (call.path or "")[len(parent.path or "") :]
    return {f"{alias}{rest}" for alias in parent.aliases} == set(call.aliases)


def _is_norm(call: Call) -> bool:
    return bool(_NORMS.match(call.class_name))
