"""The content of a tensor is the same in any shape and order, and tells apart what differs by more than rounding."""

from __future__ import annotations

import math

import pytest
import torch

from fwdtrace.compare.numbers.contents import Contents, content_of, content_together

X = torch.randn(4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("other", [X.clone(), X.reshape(2, 12), X.flatten()])
def test_another_shape_has_the_same_elements_in_the_same_order(other: torch.Tensor) -> None:
    one, two = content_of(X), content_of(other)
    assert one.same_elements(two, 1e-9) and one.same_order(two, 1e-9)


def test_a_transposed_tensor_has_the_same_elements_in_another_order() -> None:
    one, two = content_of(X), content_of(X.t())
    assert one.same_elements(two, 1e-9) and not one.same_order(two, 1e-9)
    assert content_of(X.t(), one).same_order(two, 1e-9)


@pytest.mark.parametrize("other", [X * (1 + 1e-5), X + 1e-4, X[:3], X.clone().fill_(0), -X])
def test_other_numbers_are_another_content(other: torch.Tensor) -> None:
    assert not content_of(X).same_elements(content_of(other), 1e-6)


def test_rounding_is_within_the_tolerance() -> None:
    assert content_of(X).same_elements(content_of(X.float()), 1e-6)
    assert not content_of(X).same_elements(content_of(X.float()), 1e-12)


def test_what_is_not_finite_is_counted_and_the_rest_compared() -> None:
    one, two = X.clone(), X.clone()
    one[0, 0], two[3, 3] = -math.inf, -math.inf
    assert content_of(one).special == (0, 0, 1)
    assert content_of(one).same_elements(content_of(one.t()), 1e-9)
    assert not content_of(one).same_elements(content_of(two), 1e-9)
    assert not content_of(one).same_elements(content_of(X), 1e-9)


def test_the_lowest_number_there_is_counts_as_infinite() -> None:
    mask = X.masked_fill(X < 0, torch.finfo(X.dtype).min)
    assert content_of(mask).special == (0, 0, int((X < 0).sum()))
    assert content_of(mask).same_elements(content_of(mask.clone()), 1e-9)
    assert content_of(mask.t(), content_of(mask)).same_order(content_of(mask.t()), 1e-9)


def test_an_empty_tensor_and_whole_numbers_have_contents() -> None:
    assert content_of(torch.empty(0)).same_elements(content_of(torch.empty(2, 0)), 0.0)
    assert content_of(torch.arange(5)).same_elements(content_of(torch.arange(5.0).flip(0)), 0.0)


def test_contents_are_found_by_their_elements() -> None:
    known = Contents([(content_of(X), 7), (content_of(X + 1), 8), (content_of(X.t()), 9)], 1e-9)
    assert sorted(number for number, _ in known.like(content_of(X.reshape(3, 8)))) == [7, 9]
    assert list(known.like(content_of(X - 1))) == []


def test_the_random_state_is_left_alone() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    content_of(torch.ones(100_000))
    assert torch.equal(before, torch.get_rng_state())


def test_a_part_that_is_tiny_beside_the_others_does_not_show_in_the_whole() -> None:
    one, tiny, other = content_of(X), content_of(1e-7 * X), content_of(2e-7 * X)
    whole = content_together([one, tiny])
    assert whole.same_elements(content_together([one, other]), 1e-6)
    assert one.shows_in(whole, 1e-6) and not tiny.shows_in(whole, 1e-6)
