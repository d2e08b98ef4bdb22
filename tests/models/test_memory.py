"""The memory that a program can have is that of the machine, or less if a container limits it."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from fwdtrace.models import memory


@pytest.mark.parametrize(
    ("limit", "bytes"), [("1000\n", 1000.0), ("max\n", 5000.0), (str(10**9), 5000.0), (None, 5000.0)]
)
def test_the_smaller_of_machine_and_container_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str | None, bytes: float
) -> None:
    file = tmp_path / "memory.max"
    if limit is not None:
        file.write_text(limit, encoding="utf-8")
    monkeypatch.setattr(memory, "_CONTAINER_LIMIT", file)
    monkeypatch.setattr(os, "sysconf", {"SC_PHYS_PAGES": 50, "SC_PAGE_SIZE": 100}.__getitem__)
    assert memory.memory() == bytes


def test_a_system_that_does_not_say_has_no_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_CONTAINER_LIMIT", tmp_path / "absent")
    monkeypatch.delattr(os, "sysconf")
    assert memory.memory() == math.inf
