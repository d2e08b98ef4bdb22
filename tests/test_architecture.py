"""Imports go one way, file by file.

`python -m tests.test_architecture` prints the table as it would have to be.
"""

from __future__ import annotations

from pathlib import Path
from textwrap import fill

import pytest

from tests.helpers.imports import (
    LATE_TABLES,
    WITHOUT_TORCH,
    Sources,
    arrows_up,
    circle,
    hidden_names,
    imports_of,
    imports_of_torch,
    late_of,
    sources,
    table_of,
)
from tests.helpers.late_imports import late_imports_with_a_reason

FILES = sources()

ALLOWED = Path(__file__).parent / "helpers" / "allowed_imports.txt"
"""What each file may import at its top: `.name` is a file of its own room, `name` another room or a library.

The standard library is free, and so are imports for type checkers alone. A file that is not there imports nothing.
"""


def read_table() -> dict[str, str]:
    """The table by file; a line that begins with spaces goes on with the one before."""
    lines = ALLOWED.read_text(encoding="utf-8").strip().replace("\n  ", " ").splitlines()
    return {file: names.strip() for file, _, names in (line.partition(":") for line in lines)}


def with_imports(files: Sources) -> dict[str, str]:
    """What each file imports, without the files that import nothing."""
    return {file: names for file, names in table_of(files).items() if names}


def planted(file: str, line: str) -> Sources:
    """The package with one more line at the end of a file."""
    return {**FILES, file: f"{FILES[file]}\n{line}\n"}


def test_every_file_imports_what_the_table_says() -> None:
    assert with_imports(FILES) == read_table()


def test_every_import_inside_a_function_has_a_reason() -> None:
    assert late_of(FILES) == late_imports_with_a_reason()


def test_no_import_runs_up() -> None:
    assert arrows_up(imports_of(FILES)) == []


def test_no_imports_run_in_a_circle() -> None:
    assert circle(imports_of(FILES)) is None


@pytest.mark.parametrize("room", WITHOUT_TORCH)
def test_a_room_that_does_without_torch_never_imports_it(room: str) -> None:
    assert imports_of_torch(item for item in imports_of(FILES) if item.file.startswith(room)) == []


def test_only_the_late_tables_name_files_to_import() -> None:
    assert hidden_names(FILES) == []


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("trace/values", "from fwdtrace.render import tree"),
        ("trace/values", "def show():\n    from fwdtrace.render.tree import tree_text"),
        ("trace/values", "if TYPE_CHECKING:\n    import fwdtrace.render.tree"),
        ("recorder/notes", "from fwdtrace.models import load"),
        ("findings/places", "import fwdtrace"),
    ],
)
def test_an_upward_import_is_found(file: str, line: str) -> None:
    new = set(arrows_up(imports_of(planted(file, line)))) - set(arrows_up(imports_of(FILES)))
    assert len(new) == 1 and new.pop().startswith(f"{file} imports ")


@pytest.mark.parametrize(
    "line",
    ["from fwdtrace.findings import find", "def later():\n    from fwdtrace.findings.modules import never_called"],
)
def test_a_circle_is_found(line: str) -> None:
    found = circle(imports_of(planted("findings/places", line)))
    assert found is not None and "findings/places" in found


@pytest.mark.parametrize("file", ["trace/rows", "render/tree", "findings/forward_error/layers"])
@pytest.mark.parametrize(
    "line", ["import torch.nn", "def f():\n    from torch import nn", "if TYPE_CHECKING:\n    import torch"]
)
def test_an_import_of_torch_is_found(file: str, line: str) -> None:
    assert imports_of_torch(imports_of(planted(file, line))) == [f"{file} imports torch"]


def test_a_late_import_by_name_is_found_and_a_late_table_may_have_it() -> None:
    line = 'draw = "fwdtrace.render.tree:tree_text"'
    assert hidden_names(planted("trace/values", line)) == ["trace/values names 'fwdtrace.render.tree:tree_text'"]
    for file, name in LATE_TABLES.items():
        files = {**FILES, file: f'{name} = {{"tree": "fwdtrace.render.tree:tree_text"}}\n'}
        assert hidden_names(files) == []


def test_an_import_that_the_table_does_not_have_is_found() -> None:
    assert with_imports(planted("cli/show", "import torch")) != read_table()
    assert late_of(planted("cli/show", "def f():\n    import torch")) != late_imports_with_a_reason()


if __name__ == "__main__":
    for name, cell in with_imports(FILES).items():
        print(fill(f"{name}: {cell}", 116, subsequent_indent="  ", break_on_hyphens=False))
    print(*(f"late {name}: {cell}" for name, cell in late_of(FILES).items()), sep="\n")
