"""Lively weights are away from 0 and 1, of a trained size, and the same for one seed."""

from __future__ import annotations

import torch
from torch import nn

from fwdtrace.compare.weights.lively import draw_lively


def model() -> nn.Module:
    made = nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64), nn.LayerNorm(64), nn.Linear(64, 8, bias=False))
    nn.init.normal_(made[3].weight, std=1e-6)  # type: ignore[arg-type]
    return made


def test_scales_biases_and_statistics_are_away_from_where_they_begin() -> None:
    made = model()
    draw_lively(made, 0)
    for name, tensor in made.state_dict().items():
        if name.endswith(("1.weight", "2.weight", "running_var")):
            assert tensor.min() >= 0.75 and tensor.std() > 0.05
        if name.endswith(("bias", "running_mean")):
            beyond = tensor.abs() > 3
            assert beyond.sum() == (8 if name == "1.bias" else 0)  # where a ReLU6 is flat
            assert 0.1 < tensor[~beyond].std() < 0.4


def test_a_matrix_that_is_too_small_is_drawn_by_what_goes_into_it_and_another_stays() -> None:
    made = model()
    before = made[0].weight.clone()  # type: ignore[operator]
    draw_lively(made, 0)
    assert 0.05 < float(made[3].weight.detach().std()) < 0.15  # type: ignore[operator, arg-type]
    assert torch.equal(before, made[0].weight)  # type: ignore[arg-type]


def test_one_seed_draws_the_same_and_the_random_state_stays() -> None:
    torch.manual_seed(0)
    one, two = model(), model()
    two.load_state_dict(one.state_dict())
    before = torch.get_rng_state()
    draw_lively(one, 5)
    draw_lively(two, 5)
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
