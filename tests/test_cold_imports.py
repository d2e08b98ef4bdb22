"""What is loaded when a command begins: torch is paid for by the commands that need it alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.imports import PACKAGE


def imported_by(code: str) -> set[str]:
    """The modules that are imported when this code has run in a fresh interpreter."""
    code = f"import sys\ntry:\n    {code}\nexcept SystemExit:\n    pass\nprint(*sys.modules, file=sys.stderr)"
    ran = subprocess.run([sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True, check=True)
    return set(ran.stderr.split())


@pytest.mark.parametrize("module", ["fwdtrace", "fwdtrace.cli", "fwdtrace.trace.read", "fwdtrace.render.tree"])
def test_importing_does_not_import_torch(module: str) -> None:
    assert not imported_by(f"import {module}") & {"torch", "numpy"}


@pytest.mark.parametrize(
    "arguments", [[], ["--help"], ["--version"], ["models"], ["run", "--help"], ["show", "--help"], ["rule"]]
)
def test_a_command_that_runs_no_model_does_not_import_torch(arguments: list[str]) -> None:
    assert not imported_by(f"import fwdtrace.cli; fwdtrace.cli.main({arguments})") & {"torch", "numpy"}


def test_help_loads_neither_a_trace_nor_what_draws_or_explains_one() -> None:
    loaded = imported_by("import fwdtrace.cli; fwdtrace.cli.main(['--help'])")
    assert not loaded & {f"fwdtrace.{room}" for room in ("trace", "findings", "compare", "render", "recorder")}


def test_the_check_of_torch_can_fail(tmp_path: Path) -> None:
    (tmp_path / "torch.py").touch()
    assert "torch" in imported_by(f"sys.path.insert(0, {str(tmp_path)!r}); import torch")
