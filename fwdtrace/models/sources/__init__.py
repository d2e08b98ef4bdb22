"""Models of libraries and files: a prefix of the spec, such as `timm:`, or a suffix, such as `.pt2`, says the source.

A source is a Python module, or any object, with two functions. `load(name, *args, **kwargs)` takes the name in the spec
and the literal arguments after it, and returns an `nn.Module` and the `--input` texts that suit it. `names()` returns
all names. A library adds its own source by an entry point of the group `fwdtrace.sources`, whose name is the prefix.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from functools import partial
from importlib import import_module
from typing import Any, Protocol, cast

from fwdtrace.errors import SpecError
from fwdtrace.models.spec import Building, LoadedModel, name_and_arguments, nearest, nearest_name, run_theirs

GROUP = "fwdtrace.sources"
LIBRARIES = ("torchvision", "timm", "transformers")
PROGRAMS = {".pt2": "exported", ".pt": "script", ".pth": "script"}


class Source(Protocol):
    """What an entry point of the group must load."""

    def load(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        """The model of this name, and the `--input` texts that suit it; SpecError if there is none."""

    def names(self) -> Iterable[str]:
        """The names that `load` takes."""


def load_from_source(spec: str, *, trust: bool = False, building: Building | None = None) -> LoadedModel | None:
    """Build the model that a spec names by prefix or suffix; None if the spec names something else.

    With `trust`, a `.pt2` file may run code as it is opened. `building` is entered while a library builds a model.
    """
    suffix = next((suffix for suffix in PROGRAMS if spec.endswith(suffix)), None)
    if suffix is not None:
        program = import_module(f"fwdtrace.models.sources.{PROGRAMS[suffix]}")
        options = {"trust": True} if trust and suffix == ".pt2" else {}
        return LoadedModel(*_loaded(spec, partial(program.load, spec, **options)))
    prefix, colon, text = spec.partition(":")
    source = _source(prefix) if colon and prefix.isidentifier() else None
    if source is None:
        return None
    name, arguments = name_and_arguments(text)
    with building or nullcontext():
        return LoadedModel(*_loaded(spec, partial(source.load, name, *arguments.args, **(arguments.kwargs or {}))))


def names_of(prefix: str) -> list[str]:
    """The names that a source knows; SpecError if there is no such source."""
    source = _source(prefix)
    if source is None:
        known = (*LIBRARIES, *_entry_points())
        raise SpecError(f"there is no source {prefix!r}{nearest(prefix, known)}; there are {', '.join(known)}")
    return list(run_theirs(source.names, f"listing the names of {prefix!r} raised; the traceback above is its own"))


def elsewhere(name: str) -> str | None:
    """The spec of the model of an installed library that has this name, in letters of either case, or almost has it."""
    near: list[str] = []
    for prefix in LIBRARIES:
        try:
            found = nearest_name(name, names_of(prefix), likeness=0.8)
        except SpecError:  # a library that is not there, or cannot be imported, has nothing to offer
            continue
        if found is not None and found.lower() == name.lower():
            return f"{prefix}:{found}"
        near += [f"{prefix}:{found}"] if found is not None else []
    return next(iter(near), None)


def _loaded(spec: str, load: partial[tuple[Any, Any]]) -> tuple[Any, str, Any]:
    from torch import nn

    module, inputs = run_theirs(load, f"building {spec!r} raised; the traceback above is its own")
    if not isinstance(module, nn.Module):
        raise SpecError(f"{spec!r} gave a {type(module).__name__}, not an nn.Module")
    return module, spec, tuple(inputs) if isinstance(inputs, list) else inputs


def _source(prefix: str) -> Source | None:
    if prefix in LIBRARIES:
        return cast(Source, import_module(f"fwdtrace.models.sources.{prefix}"))
    entry_point = _entry_points().get(prefix)
    if entry_point is None:
        return None
    broken = f"the source {prefix!r} was found, but importing it raised; the traceback above is its own"
    source: Source = run_theirs(entry_point.load, broken)
    return source


def _entry_points() -> dict[str, Any]:
    from importlib.metadata import entry_points

    return {entry_point.name: entry_point for entry_point in entry_points(group=GROUP)}
