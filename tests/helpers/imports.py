"""Who imports whom in the package, read from its source, and what is wrong with that: plain functions over Imports."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Literal

PACKAGE = Path(__file__).parents[2] / "fwdtrace"

ROOMS = (
    ("__init__", "__main__"),
    ("cli", "pytest_plugin"),
    ("run", "program", "render"),
    ("compare", "trials"),
    ("recorder", "models"),
    ("findings",),
    ("trace",),
    ("errors",),
    ("version",),
)
"""The rooms and the files beside them, from the top down: each may import what stands in a line below its own."""

WITHOUT_TORCH = ("trace", "render", "findings")
"""The rooms that never import torch: a saved trace is shown and explained without it."""

LATE_TABLES = {"__init__": "_HOME", "trace/views": "VIEWS"}
"""The only places that hold names of files to import when they are needed, by file and variable."""

When = Literal["top", "later", "types"]


@dataclass(frozen=True)
class Import:
    """A file of the package and what it imports: another file of it, such as `trace/values`, or a library.

    `when` is `later` for an import inside a function, `types` for one that only type checkers see.
    """

    file: str
    target: str
    when: When = "top"


Sources = Mapping[str, str]
"""The text of each file of a package by its path in there, without the suffix."""


def sources() -> Sources:
    """The files of fwdtrace."""
    return {
        file.relative_to(PACKAGE).with_suffix("").as_posix(): file.read_text(encoding="utf-8")
        for file in sorted(PACKAGE.rglob("*.py"))
    }


def room_of(name: str) -> str:
    """The room of a file, or the file itself if it stands beside the rooms."""
    return name.partition("/")[0]


def imports_of(files: Sources) -> list[Import]:
    """All imports of a package, each once, but those of the standard library."""
    found: dict[tuple[str, str], Import] = {}
    for file, text in files.items():
        for module, name, when in _import_statements(text):
            whole = _file_of(f"{module}.{name}", files) or _file_of(module, files)
            target = whole or module.partition(".")[0]
            if target not in sys.stdlib_module_names and target != file:
                found.setdefault((file, target), Import(file, target, when))
    return list(found.values())


def arrows_up(imports: Iterable[Import]) -> list[str]:
    """The imports from a room that does not stand below."""
    line = {room: number for number, rooms in enumerate(ROOMS) for room in rooms}
    wrong = []
    for item in imports:
        room, other = room_of(item.file), room_of(item.target)
        if other in line and room != other and line[other] <= line[room] and (room, item.when) != ("__init__", "types"):
            wrong.append(f"{item.file} imports {item.target}, which does not stand below it")
    return wrong


def circle(imports: Iterable[Import]) -> str | None:
    """A circle among files, as `a -> b -> a`, where imports inside functions count too; None if there is none."""
    targets: dict[str, list[str]] = {}
    for item in imports:
        if item.when != "types":
            targets.setdefault(item.target, []).append(item.file)
    try:
        TopologicalSorter(targets).prepare()
    except CycleError as error:
        return " -> ".join(error.args[1])
    return None


def imports_of_torch(imports: Iterable[Import]) -> list[str]:
    """The imports of torch in the rooms that do without it."""
    light = (item for item in imports if room_of(item.file) in WITHOUT_TORCH)
    return [f"{item.file} imports torch" for item in light if item.target == "torch"]


def hidden_names(files: Sources) -> list[str]:
    """The texts that name a file of another room, by which it could be imported unseen, outside the late tables."""
    wrong = []
    for file, text in files.items():
        for string in _strings(text, LATE_TABLES.get(file)):
            target = _file_of(string.partition(":")[0].rstrip("."), files)
            if target is not None and room_of(target) not in (room_of(file), "__init__"):
                wrong.append(f"{file} names {string!r}")
    return wrong


def table_of(files: Sources) -> dict[str, str]:
    """What each file imports at its top: a file of its own room as `.name`, another room by its name, and libraries."""
    cells: dict[str, set[str]] = {file: set() for file in files}
    for item in imports_of(files):
        if item.when == "top":
            own = room_of(item.target) == room_of(item.file)
            cells[item.file].add(f".{item.target.partition('/')[2]}" if own else room_of(item.target))
    return {file: " ".join(sorted(cell)) for file, cell in cells.items()}


def late_of(files: Sources) -> dict[str, str]:
    """What each file imports inside functions, where it imports anything there: files and libraries."""
    cells: dict[str, set[str]] = {}
    for item in imports_of(files):
        if item.when == "later":
            cells.setdefault(item.file, set()).add(item.target)
    return {file: " ".join(sorted(cell)) for file, cell in cells.items()}


@cache
def _import_statements(text: str) -> list[tuple[str, str, When]]:
    """What a source text imports, as module, name in it (or "") and when; what is imported at its top comes first."""
    order = ("top", "later", "types")
    return sorted(_statements_in(ast.parse(text), "top"), key=lambda statement: order.index(statement[2]))


def _statements_in(node: ast.AST, when: When) -> Iterator[tuple[str, str, When]]:
    for part in ast.iter_child_nodes(node):
        inner = when
        if isinstance(part, ast.If) and "TYPE_CHECKING" in ast.unparse(part.test):
            inner = "types"
        elif isinstance(part, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)) and when == "top":
            inner = "later"
        if isinstance(part, ast.Import):
            yield from ((name.name, "", inner) for name in part.names)
        elif isinstance(part, ast.ImportFrom):
            assert part.level == 0 and part.module, "imports name the whole module"
            yield from ((part.module, name.name, inner) for name in part.names)
        yield from _statements_in(part, inner)


@cache
def _strings(text: str, table: str | None) -> list[str]:
    """The strings in a source text, but for those in what is assigned to the variable `table`."""
    tree = ast.parse(text)
    inside = {id(node) for part in tree.body if _assigns(part, table) for node in ast.walk(part)}
    constants = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in inside)
    return [node.value for node in constants if isinstance(node.value, str)]


def _assigns(node: ast.stmt, name: str | None) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else []
    return any(isinstance(target, ast.Name) and target.id == name for target in targets)


def _file_of(module: str, files: Sources) -> str | None:
    """The file of the package that a dotted name leads to; None if it leads elsewhere."""
    package, *parts = module.rstrip(".").split(".")
    if package != "fwdtrace":
        return None
    path = "/".join(parts)
    return next((name for name in (path, f"{path}/__init__".lstrip("/")) if name in files), None)
