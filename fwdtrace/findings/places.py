"""What several rules share: calls grouped by the line they are made from, and the modules around a qualified name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fwdtrace.trace import Call, Site
from fwdtrace.trace.text import how_often


def by_place(calls: Iterable[Call]) -> list[list[Call]]:
    """The calls grouped by module and line, in order of the first call of each group."""
    groups: dict[tuple[str | None, str, Site | None], list[Call]] = {}
    for call in calls:
        groups.setdefault((call.path, call.class_name, call.site), []).append(call)
    return list(groups.values())


def repeated(calls: list[Call]) -> str:
    """How often, with a space before it: ` twice`, ` 3 times`; `""` for a single call."""
    return f" {how_often(len(calls))}" if len(calls) > 1 else ""


def modules_around(name: str) -> Iterator[str]:
    """The qualified names of the modules that contain this name, the outermost first: of `a.b.c`, `a` and `a.b`."""
    end = name.find(".")
    while end >= 0:
        yield name[:end]
        end = name.find(".", end + 1)


def all_modules_around(names: Iterable[str]) -> set[str]:
    """The qualified names of all modules that contain one of these names."""
    modules: set[str] = set()
    for name in names:
        module = name.rpartition(".")[0]
        while module and module not in modules:
            modules.add(module)
            module = module.rpartition(".")[0]
    return modules
