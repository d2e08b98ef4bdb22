"""A model that raises shows its own traceback, in which no line is of fwdtrace."""

from __future__ import annotations

from pathlib import Path

from tests.helpers.commands import REPOSITORY, Command

TROUBLED = """
import time

from torch import nn


class Raises(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Identity()

    def forward(self, x):
        self.first(x)
        try:
            {}["key"]
        except KeyError:
            raise ValueError("not this one")


class NotBuilt(nn.Module):
    def __init__(self):
        super().__init__()
        raise ValueError("not even built")
"""


def test_a_model_that_raises_shows_the_tree_and_then_its_own_traceback(command: Command, folder: Path) -> None:
    (folder / "troubled.py").write_text(TROUBLED)
    ran = command("run", "troubled.py:Raises")
    assert ran.status == 2
    assert "first" in ran.out
    assert "ValueError: not this one" in ran.err
    assert "KeyError: 'key'" in ran.err
    assert "During handling of the above exception" in ran.err
    assert "troubled.py" in ran.err
    assert str(REPOSITORY / "fwdtrace") not in ran.err
    assert "typer" not in ran.err
    assert ran.err.endswith("fwdtrace: 'troubled.py:Raises' raised while it ran; the traceback above is its own\n")


def test_a_constructor_that_raises_shows_its_own_traceback_only(command: Command, folder: Path) -> None:
    (folder / "troubled.py").write_text(TROUBLED)
    ran = command("run", "troubled.py:NotBuilt")
    frames = [line for line in ran.err.splitlines() if line.startswith("  File ")]
    assert (ran.status, ran.out, len(frames)) == (2, "", 1)
    assert frames[0].endswith("line 23, in __init__")
    assert ran.err.endswith(
        "ValueError: not even built\nfwdtrace: building 'troubled.py:NotBuilt' raised; the traceback above is its own\n"
    )


def test_an_import_that_fails_shows_its_own_traceback_only(command: Command, folder: Path) -> None:
    (folder / "importing.py").write_text("import absent_library\n")
    ran = command("run", "importing.py:Net")
    assert (ran.status, ran.out) == (2, "")
    assert [line.strip() for line in ran.err.splitlines()] == [
        "Traceback (most recent call last):",
        f'File "{folder}/importing.py", line 1, in <module>',
        "import absent_library",
        "ModuleNotFoundError: No module named 'absent_library'",
        "fwdtrace: 'importing' was found, but importing it raised; the traceback above is its own",
    ]
