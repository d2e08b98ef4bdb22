"""Names with literal arguments are split as Python would read them, and what is no literal is refused."""

from __future__ import annotations

import pytest

from fwdtrace.errors import SpecError
from fwdtrace.models.spec import Arguments, name_and_arguments, nearest, run_theirs


@pytest.mark.parametrize(
    ("text", "name", "arguments"),
    [
        ("resnet18", "resnet18", Arguments()),
        ("resnet18(3, weights=None)", "resnet18", Arguments((3,), {"weights": None})),
        ("llama(**{'depth': 2}, sizes=[1, -2])", "llama", Arguments((), {"depth": 2, "sizes": [1, -2]})),
        ("models (old)/config.json", "models (old)/config.json", Arguments()),
        ("models (old)/net(act='(')", "models (old)/net", Arguments((), {"act": "("})),
    ],
)
def test_a_name_may_hold_any_character_and_its_arguments_are_literals(
    text: str, name: str, arguments: Arguments
) -> None:
    assert name_and_arguments(text) == (name, arguments)


def test_an_argument_that_is_no_literal_is_named() -> None:
    with pytest.raises(SpecError, match="'width' is not a literal; arguments are literals such as 3"):
        name_and_arguments("net(depth=width)")


def test_a_hint_names_the_nearest_and_nothing_if_none_is_near() -> None:
    assert nearest("lenett", ["alexnet", "lenet"]) == ", the nearest is 'lenet'"
    assert nearest("xyz", ["alexnet", "lenet"]) == ""


def test_what_their_code_raises_is_the_cause_and_a_spec_error_of_ours_passes() -> None:
    def divides() -> float:
        return 1 / 0

    def refuses() -> None:
        raise SpecError("ours")

    with pytest.raises(SpecError, match="building it raised") as caught:
        run_theirs(divides, "building it raised")
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    with pytest.raises(SpecError, match="ours"):
        run_theirs(refuses, "building it raised")
