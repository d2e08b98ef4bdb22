"""The command that needs a GPU says so where there is none, and the checks that need none run here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from tests.accelerator.__main__ import PARTS, available, main, passed
from tests.accelerator.checks import PROGRAM, TEN
from tests.helpers.real_models import MODELS


@pytest.fixture(autouse=True)
def as_deterministic_as_before() -> Iterator[None]:
    """Give the other tests torch's own choice of algorithms."""
    before = torch.are_deterministic_algorithms_enabled()
    yield
    torch.use_deterministic_algorithms(before)


@pytest.mark.skipif(available() is not None, reason="there is an accelerator")
def test_without_an_accelerator_it_says_so_in_one_line_and_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert capsys.readouterr().out == "no accelerator: torch finds none on this machine, so nothing was checked\n"


def test_what_needs_no_accelerator_is_checked_on_the_cpu(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--device", "cpu", "random", "footprint", "times"]) == 0
    lines = [line.partition("  ")[::2] for line in capsys.readouterr().out.splitlines()[1:]]
    assert [first for first, _ in lines] == ["passed", "passed", "passed", "left out", "3 passed, 0 failed"]


def test_a_check_that_finds_something_or_raises_has_failed(capsys: pytest.CaptureFixture[str]) -> None:
    def raises() -> list[str]:
        raise ValueError("no kernel")

    assert [passed("a", list), passed("b", lambda: ["one", "two"]), passed("c", raises)] == [True, False, False]
    first, second, third = capsys.readouterr().out.splitlines()
    assert first.startswith("passed  a  ")
    assert second.startswith("FAILED  b  ") and second.endswith("  one; two")
    assert third.startswith("FAILED  c  ") and third.endswith("  ValueError: no kernel")


def test_a_failed_check_is_exit_status_1(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(PARTS, "random", lambda device: iter([("", lambda: [f"wrong on {device}"])]))
    assert main(["--device", "cpu", "random"]) == 1
    assert capsys.readouterr().out.endswith("0 passed, 1 failed\n")


def test_the_ten_models_are_ten_that_there_are_and_the_program_is_one() -> None:
    assert len(set(TEN)) == 10 and set(TEN) <= set(MODELS)
    compile(PROGRAM, "train.py", "exec")
