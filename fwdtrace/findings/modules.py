"""FT003 and FT004: modules that did not run, and modules that ran in several places."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from operator import attrgetter

from fwdtrace.findings.places import all_modules_around, modules_around
from fwdtrace.findings.readers import Reading, reader_text, readings, unmade
from fwdtrace.trace import Call, Finding, Site, Trace, Uncalled
from fwdtrace.trace.text import how_often, listed, name_of, plural

_PARAMETER_HOLDERS = ("ParameterList", "ParameterDict", "BufferList", "BufferDict")
"""Modules that have no `forward`: their parameters are used without a call."""
_READERS = {
    "MultiheadAttention": "MultiheadAttention reads the weights itself",
    "TransformerEncoderLayer": "the fused path of TransformerEncoderLayer reads the weights itself",
}
"""Classes that use the weights of their submodules without calling them, and how a message says so."""
_NORMS = re.compile(r"(Sync)?BatchNorm|LazyBatchNorm")


def never_called(trace: Trace) -> Iterator[Finding]:
    """FT003: modules with parameters that did not run, and whether something used their weights all the same.

    Modules with the same reason, such as the experts that got no token, are one finding.
    """
    if not trace.uncalled or not trace.calls:
        return
    if trace.has_raised:
        return  # after an error, the rest of the model had no chance to run
    used: dict[str, list[Uncalled]] = {}
    unused: dict[str, list[Uncalled]] = {}
    classes = {name: call.class_name for call in trace.calls for name in (call.path, *call.aliases)}
    arrived = [gradient.name for gradient in trace.gradients or () if gradient.norm is not None]
    with_gradient = all_modules_around(arrived)
    read = readings(trace)
    told = unmade(trace)
    for module in _topmost_uncalled(trace):
        if module.path in told:
            continue  # FT002 says that, and more
        reader = _READERS.get(classes.get(module.path.rpartition(".")[0], ""))
        if reader is None and (by := _reading_in(module.path, read)) is not None:
            reader = f"{reader_text(trace, by)} reads {by.name}"
        if reader is None and module.path in with_gradient:
            reader = "the weights got gradients, so something reads them directly"
        if reader is not None:
            used.setdefault(reader, []).append(module)
        else:
            unused.setdefault(re.sub(r"\d+", "#", module.path), []).append(module)
    for reader, modules in used.items():
        message = f"{_described(modules)} did not run, but {reader}; a hook there never fires"
        yield Finding("FT003", "never-called", None, message)
    for modules in unused.values():
        message = (
            f"{_described(modules)} did not run; unless something reads the weights directly, they get no gradient"
        )
        yield Finding("FT003", "never-called", None, message)


def _topmost_uncalled(trace: Trace) -> list[Uncalled]:
    """The outermost modules in which no module ran, each with the parameters of all modules inside it."""
    names = {name for call in trace.calls for name in (call.path, *call.aliases) if name is not None}
    active = names | all_modules_around(names)
    opaque = {call.path for call in trace.calls if call.opaque}
    topmost: dict[str, Uncalled] = {}
    for module in trace.uncalled:
        if module.class_name in _PARAMETER_HOLDERS or not opaque.isdisjoint(("", *modules_around(module.path))):
            continue
        path = next((outer for outer in modules_around(module.path) if outer not in active), module.path)
        parameters = module.parameters + (topmost[path].parameters if path in topmost else 0)
        topmost[path] = Uncalled(path, module.class_name if path == module.path else "", parameters)
    return list(topmost.values())


def _reading_in(path: str, read: dict[str, list[Reading]]) -> Reading | None:
    """Who read a tensor that this module or one in it holds."""
    return next((found[0] for other, found in read.items() if other == path or other.startswith(f"{path}.")), None)


def _described(modules: list[Uncalled]) -> str:
    parameters = sum(module.parameters for module in modules)
    return f"{listed([module.path for module in modules])} ({plural(parameters, 'parameter')})"


def shared_module(trace: Trace) -> Iterator[Finding]:
    """FT004: a module with parameters that is called from several places or has several names.

    Of nested modules it is the outermost one.
    """
    if len({call.path for call in trace.calls}) == len(trace.calls) and not any(call.aliases for call in trace.calls):
        return  # as mostly
    # Of a million calls most come from where others do, and the calls of one line share its Site.
    met = {
        (call.path, id(call.site), caller.path, id(caller.site)): call
        for call in reversed(trace.calls)
        if call.path and call.parameters and (caller := trace.caller(call)) is not None
    }
    by_path: dict[str | None, list[Call]] = {}
    for call in sorted(met.values(), key=attrgetter("id")):  # the first one from each place
        by_path.setdefault(call.path, []).append(call)
    for path, calls in by_path.items():
        first = calls[0]
        if first.aliases and not _inherits_its_names(trace, first):
            names = (first.path or "", *first.aliases)
            sharing = f"is one module under {len(names)} names: {listed(names)}; state_dict has it under each"
        elif len(places := _places(trace, calls)) > 1:
            same = [
                call for call in trace.at(path) if call.path == path and call.parent is not None and call.parameters
            ]
            sharing = f"ran {how_often(len(same))}, from {listed(places)}, with the same weights"
        else:
            continue
        mixed = " and running statistics, which then mix" if trace.model.training and _is_norm(first) else ""
        message = f"{name_of(first)} ({first.class_name}) {sharing}{mixed}"
        yield Finding("FT004", "shared-module", first.id, message, first.site)


def _places(trace: Trace, calls: Iterable[Call]) -> list[str]:
    """The lines that called the module, each with the module whose `forward` contains the line."""
    places: dict[tuple[str | None, Site | None], str] = {}
    for call in calls:
        caller = trace.caller(call)
        if caller is None:
            continue
        # nn.Sequential and the like have no line of the user's: the call has the site of the container's own call.
        site = call.site if call.site != caller.site else None
        places[caller.path, site] = f"line {site.line} in {name_of(caller)}" if site else name_of(caller)
    return list(places.values())


def _inherits_its_names(trace: Trace, call: Call) -> bool:
    """Whether the module has its aliases only because the module around it has some, which get their own finding."""
    caller = trace.caller(call)
    if caller is None or not caller.aliases or not (call.path or "").startswith(f"{caller.path}."):
        return False
    rest = (call.path or "")[len(caller.path or "") :]
    return {f"{alias}{rest}" for alias in caller.aliases} == set(call.aliases)


def _is_norm(call: Call) -> bool:
    return bool(_NORMS.match(call.class_name))
