"""Results are paired by name, by their numbers, by shape and by shapes turned around; the rest is left and named."""

from __future__ import annotations

import torch

from fwdtrace.compare.outputs_value import output_name
from fwdtrace.compare.two_models.outputs import outputs_of

A, B = torch.randn(2, 3), torch.randn(2, 3)


def named(**tensors: torch.Tensor) -> list[tuple[str, torch.Tensor]]:
    return list(tensors.items())


def pairs(ours: list[tuple[str, torch.Tensor]], theirs: list[tuple[str, torch.Tensor]]) -> list[tuple[str, str]]:
    return [(pair.first, pair.second) for pair in outputs_of(ours, theirs).pairs]


def test_results_of_one_name_belong_together_whatever_their_order() -> None:
    assert pairs(named(a=A, b=B), named(b=A, a=B)) == [("a", "a"), ("b", "b")]


def test_results_of_other_names_go_by_their_numbers_and_then_by_shape() -> None:
    assert pairs(named(a=A, b=B), named(x=B, y=A)) == [("a", "y"), ("b", "x")]
    assert pairs(named(a=A, b=B), named(x=A + 1, y=B + 1)) == [("a", "x"), ("b", "y")]


def test_a_result_with_its_dimensions_turned_is_turned_back() -> None:
    images = torch.randn(1, 2, 3, 3)
    found = outputs_of(named(a=images), named(x=images.permute(0, 2, 3, 1)))
    assert found.equal and found.pairs[0].order == (0, 3, 1, 2)


def test_what_has_no_partner_is_named_and_nothing_to_compare_is_not_equal() -> None:
    found = outputs_of(named(a=A, cache=torch.ones(5)), named(a=A, c=torch.ones(7, 7)))
    assert found.equal and found.only_first == ("cache",) and found.only_second == ("c",)
    assert outputs_of(named(a=A), named(b=torch.ones(9))).equal is None


def test_results_are_named_by_both_names() -> None:
    assert output_name(outputs_of([("", A)], [("", A)]).pairs[0]) == "the result"
    assert output_name(outputs_of([(".a", A)], [(".a", A)]).pairs[0]) == "result a"
    assert output_name(outputs_of([(".a", A)], [("b", A)]).pairs[0]) == "result a and b"
