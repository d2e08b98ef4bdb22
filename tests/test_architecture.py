"""Imports go one way, and torch is paid for by the commands that need it alone."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "fwdtrace"
LIBRARIES = {"torch", "typer", "rich", "numpy", "safetensors"}

# What a part may import at its top. A folder is one part, but in `cli` each file is one; the standard library is free.
ALLOWED: dict[str, set[str]] = {
    "__init__": set(),
    "__main__": {"cli"},
    "backward": {"torch", "errors", "recorder"},
    "cli": {
        *("typer", "__init__", "errors"),
        *("cli.compare", "cli.exec", "cli.models", "cli.results", "cli.rule", "cli.run", "cli.show"),
    },
    "cli.cold_start": set(),
    "cli.compare": {
        "typer",
        "cli.cold_start",
        "cli.compare_two",
        "cli.options",
        "cli.progress",
        "cli.results",
        "errors",
    },
    "cli.compare_two": {"cli.cold_start", "errors"},
    "cli.exec": {"typer", "cli.options", "cli.fail_on", "cli.results", "errors", "program"},
    "cli.fail_on": {"typer", "cli.results", "errors", "rules"},
    "cli.models": {"typer", "errors", "spec", "zoo"},
    "cli.options": {"typer"},
    "cli.progress": set(),
    "cli.results": {"rich", "cli.options", "__init__", "errors", "render", "trace", "zoo"},
    "cli.rule": {"typer", "cli.results", "errors", "rules"},
    "cli.run": {"typer", "cli.cold_start", "cli.fail_on", "cli.options", "cli.progress", "cli.results", "errors"},
    "cli.show": {"typer", "cli.options", "cli.results"},
    "compare": {"comparison", "errors", "trace"},
    "comparison": {"trace"},
    "comparison_file": {"comparison", "trace_rows"},
    "direct": {"torch", "comparison", "errors", "mechanisms", "randomness", "recorder", "trace"},
    "devices": {"torch", "errors", "meta"},
    "errors": set(),
    "findings": {"mechanisms", "trace"},
    "inputs": {"torch", "errors", "memory", "spec"},
    "json_stream": set(),
    "load": {"torch", "errors", "sources", "spec", "zoo"},
    "mechanisms": {"trace"},
    "memory": set(),
    "meta": {"torch"},
    "program": {"errors", "findings", "trace"},
    "pytest_plugin": set(),
    "randomness": {"torch"},
    "recorder": {"torch", "__init__", "findings", "trace"},
    "render": {"rich", "comparison", "mechanisms", "trace"},
    "rules": set(),
    "same_init": {"torch", "compare", "randomness", "recorder", "trace", "two_runs"},
    "sources": {"torch", "errors", "memory", "meta", "spec"},
    "spec": {"errors"},
    "trace": set(),
    "trace_file": {"errors", "json_stream", "trace", "trace_rows"},
    "trace_rows": {"trace"},
    "weights": {"torch", "errors"},
    "two_runs": {
        *("torch", "compare", "comparison", "randomness", "recorder", "trace", "values"),
    },
    "values": {"torch", "compare", "comparison", "recorder", "trace"},
    "zoo": {"torch"},
}

# What a part may import inside a function, when it is needed: each of these has a reason to wait.
LATER: dict[str, set[str]] = {
    "cli.cold_start": {"torch"},
    "cli.compare": {"rich", "comparison_file", "direct", "inputs", "load", "randomness", "render"},
    "cli.exec": {"rich", "program", "recorder", "render", "trace_file"},
    "cli.compare_two": {
        *(
            "torch",
            "compare",
            "devices",
            "inputs",
            "load",
            "randomness",
            "same_init",
            "trace_file",
            "two_runs",
            "weights",
        ),
    },
    "cli.results": {"render", "trace_file"},
    "cli.models": {"sources"},
    "cli.run": {
        "torch",
        "backward",
        "devices",
        "inputs",
        "load",
        "meta",
        "randomness",
        "recorder",
        "compare",
        "weights",
    },
    "cli.show": {"trace_file"},
    "compare": {"numpy", "safetensors"},
    "comparison": {"comparison_file", "render"},
    "inputs": {"numpy", "safetensors"},
    "pytest_plugin": {"torch", "recorder"},
    "weights": {"safetensors"},
    "trace": {"render", "trace_file"},
}


def part_of(file: Path) -> str:
    """The part a file belongs to: `fwdtrace/recorder/leaves.py` is of `recorder`, a command is its own."""
    names = file.relative_to(PACKAGE).with_suffix("").parts
    if len(names) == 1:
        return names[0]
    return "cli" if names == ("cli", "__init__") else ".".join(names) if names[0] == "cli" else names[0]


def part_named(module: str) -> str | None:
    """The part, or the library, that an imported module belongs to; None for the standard library."""
    first, *rest = module.split(".")
    if first != "fwdtrace":
        return first if first in LIBRARIES else None
    if not rest:
        return "__init__"
    return ".".join(rest[:2]) if rest[0] == "cli" else rest[0]


def imports_in(tree: ast.AST, later: bool = False) -> Iterator[tuple[str, bool]]:
    """The modules that are imported, each with whether a function does it; imports for type checkers do not count."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from ((name.name, later) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            inside = node.module in ("fwdtrace", "fwdtrace.cli")
            names = [f"{node.module}.{name.name}" for name in node.names if is_part(node.module, name.name)]
            yield from ((name, later) for name in (names if inside and names else [node.module or ""]))
        yield from imports_in(node, later or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))


def is_part(package: str | None, name: str) -> bool:
    """Whether `from package import name` imports a module."""
    folder = PACKAGE.joinpath(*(package or "").split(".")[1:])
    return (folder / f"{name}.py").exists() or (folder / name).is_dir()


def violations(part: str, source: str) -> list[str]:
    """The imports in a source text that its part may not make."""
    found = []
    for module, later in imports_in(ast.parse(source)):
        wanted = part_named(module)
        allowed = ALLOWED[part] | (LATER.get(part, set()) if later else set())
        if wanted is not None and wanted != part and wanted not in allowed:
            found.append(f"{part} imports {wanted}{' inside a function' if later else ''}")
    return found


FILES = sorted(PACKAGE.rglob("*.py"))


def test_every_file_has_its_place_in_the_table() -> None:
    assert {part_of(file) for file in FILES} == set(ALLOWED)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_a_file_imports_what_its_part_may(file: Path) -> None:
    assert violations(part_of(file), file.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("part", "source", "found"),
    [
        ("trace", "import torch.nn", ["trace imports torch"]),
        ("render", "from fwdtrace.recorder.describe import x", ["render imports recorder"]),
        ("load", "from fwdtrace import inputs", ["load imports inputs"]),
        ("cli.run", "import torch", ["cli.run imports torch"]),
        ("cli.show", "def f():\n    if x:\n        import torch", ["cli.show imports torch inside a function"]),
        ("cli.run", "def f():\n    import torch", []),
        ("trace", "if TYPE_CHECKING:\n    import torch", []),
    ],
)
def test_the_check_of_imports_can_fail(part: str, source: str, found: list[str]) -> None:
    assert violations(part, source) == found


def imported_by(code: str) -> set[str]:
    """The libraries that are imported when this code has run in a fresh interpreter."""
    code = f"import sys\ntry:\n    {code}\nexcept SystemExit:\n    pass\nprint(*sys.modules, file=sys.stderr)"
    ran = subprocess.run([sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True, check=True)
    return LIBRARIES & set(ran.stderr.split())


@pytest.mark.parametrize("module", ["fwdtrace", "fwdtrace.cli", "fwdtrace.trace.read", "fwdtrace.render.tree"])
def test_importing_does_not_import_torch(module: str) -> None:
    assert not imported_by(f"import {module}") & {"torch", "numpy"}


@pytest.mark.parametrize(
    "arguments", [[], ["--help"], ["--version"], ["models"], ["run", "--help"], ["show", "--help"]]
)
def test_a_command_that_runs_no_model_does_not_import_torch(arguments: list[str]) -> None:
    assert not imported_by(f"import fwdtrace.cli; fwdtrace.cli.main({arguments})") & {"torch", "numpy"}


def test_the_check_of_torch_can_fail() -> None:
    assert "torch" in imported_by("import fwdtrace; fwdtrace.record")


def test_torch_is_imported_without_collecting_garbage_which_is_collected_afterwards() -> None:
    code = (
        "import gc; from fwdtrace.run.cold_start import import_torch; gc.collect(); "
        "before = gc.get_stats()[2]['collections']; import_torch(); import torch; "
        "print(gc.get_stats()[2]['collections'] - before, gc.isenabled(), gc.get_freeze_count() > 100_000)"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True, check=True)
    assert ran.stdout == "0 True True\n"
