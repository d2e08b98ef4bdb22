"""The tests of the rooms that never import torch run without importing it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOMS_WITHOUT_TORCH
from tests.helpers.commands import REPOSITORY

ROOMS = [f"tests/{room}" for room in ROOMS_WITHOUT_TORCH]


def torch_is_imported_by_pytest(*arguments: str) -> bool:
    """Whether torch is there after pytest ran, with success, in a process of its own."""
    code = "import pytest, sys; status = pytest.main(sys.argv[1:]); sys.exit(status or 10 * ('torch' in sys.modules))"
    ran = subprocess.run(
        [sys.executable, "-c", code, "-q", "-p", "no:cacheprovider", *arguments], cwd=REPOSITORY, capture_output=True
    )
    assert ran.returncode in (0, 10), ran.stdout.decode()
    return ran.returncode == 10


def test_collecting_the_rooms_without_torch_and_running_some_of_their_tests_does_not_import_it() -> None:
    assert not torch_is_imported_by_pytest("-k", "test_words or test_ranking or test_wrappers or test_views", *ROOMS)


def test_the_check_of_torch_can_fail(tmp_path: Path) -> None:
    (tmp_path / "torch.py").touch()
    (tmp_path / "test_it.py").write_text("import torch\n\n\ndef test_it():\n    pass\n", encoding="utf-8")
    assert torch_is_imported_by_pytest("--rootdir", str(tmp_path), str(tmp_path))
