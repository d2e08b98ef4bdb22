"""The tests of the rooms that never import torch run without importing it."""

from __future__ import annotations

import subprocess
import sys

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


def test_collecting_the_rooms_without_torch_does_not_import_it() -> None:
    assert not torch_is_imported_by_pytest("--collect-only", *ROOMS)


def test_running_some_tests_of_the_rooms_without_torch_does_not_import_it() -> None:
    assert not torch_is_imported_by_pytest("-k", "test_findings or test_trace or test_ranking", *ROOMS)


def test_the_check_of_torch_can_fail() -> None:
    assert torch_is_imported_by_pytest("--collect-only", "tests/models/test_zoo.py")
