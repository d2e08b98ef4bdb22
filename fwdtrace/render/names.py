"""The names of rows where they are too long: without their namespace, cut, and yet no two alike."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len

from fwdtrace.render.cells import Name
from fwdtrace.render.rows import Row
from fwdtrace.render.words import cut_apart
from fwdtrace.trace import Op


def apart(names: dict[int, Name], rows: Sequence[Row], width: int) -> dict[int, Name]:
    """The names with those cut that are too long, so that no two with the same caller look alike."""
    below: dict[tuple[int | None, int], list[int]] = {}
    cut_names = dict(names)
    for number, name in names.items():
        room = width - cell_len(name.guides)
        if cell_len(name.name) > room and isinstance(rows[number].entry, Op):
            name = cut_names[number] = name._replace(name=_without_namespace(name.name))
        if cell_len(name.name) > room:
            parent = rows[number].parent
            below.setdefault((parent.id if parent else None, room), []).append(number)
    for (_, room), numbers in below.items():
        for number, text in zip(numbers, cut_apart([cut_names[number].name for number in numbers], room), strict=True):
            cut_names[number] = cut_names[number]._replace(name=text)
    return cut_names


def _without_namespace(name: str) -> str:
    """The name of an op where there is no room: `.view` for `Tensor.view`, `…arange` for `torch.arange`."""
    for namespace, short in (("Tensor.", "."), ("torch.", "…")):
        if name.startswith(namespace):
            return short + name.removeprefix(namespace)
    return name
