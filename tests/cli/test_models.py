"""`fwdtrace models` lists the built-in models, and the names of a library."""

from __future__ import annotations

from fwdtrace.models.zoo import BUILT_INS
from tests.helpers.commands import Command


def test_models_has_a_line_for_each(command: Command) -> None:
    lines = command("models").out.splitlines()
    assert [line.split()[0] for line in lines] == [model.name for model in BUILT_INS]
    assert max(map(len, lines)) <= 80
