"""Each operation is noted with what it was given and gave, writes in place and views included."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fwdtrace.compare.two_models.recorded import Runnable
from fwdtrace.compare.two_models.watched import Watched, watch

X = torch.randn(2, 4, generator=torch.Generator().manual_seed(0))


class Writes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 4)
        self.register_buffer("shift", torch.ones(4))

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x)
        view = h[:, :2]
        functional.relu_(h)
        return view + self.shift[:2]  # type: ignore[no-any-return, index]


def watched(model: nn.Module, *args: Any) -> Watched:
    return watch(Runnable(model, args, {}), 0, {})


def test_steps_know_what_made_what_they_are_given_and_who_ran_them() -> None:
    run = watched(nn.Sequential(nn.Linear(4, 3), nn.Tanh()), X)
    names = [step.name for step in run.steps.steps]
    assert names == ["t", "addmm", "tanh"] and run.error is None
    linear, tanh = run.steps.steps[1:]
    assert run.steps.held[tanh.given[0]].made_by == 1
    assert [run.trace.call(step.event or 0).class_name for step in (linear, tanh)] == ["Linear", "Tanh"]
    weights = [run.steps.held[number].weight for number in linear.given]
    assert weights == ["0.bias", None, "0.weight"]
    assert next(iter(run.gave.values())).dtype == torch.float64


def test_a_view_of_what_was_written_into_holds_what_was_written() -> None:
    run = watched(Writes(), X)
    add = next(step for step in run.steps.steps if step.name == "add")
    given = run.steps.held[add.given[0]]
    writer = run.steps.steps[given.made_by or 0]
    assert writer.name == "relu_" and given.follows
    assert given.content is not None and given.content.moments[4] >= 0.0


def test_what_does_not_depend_on_the_input_does_not_follow() -> None:
    class Places(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + torch.arange(4) * 2

    run = watched(Places(), X)
    follows = {step.name: run.steps.held[step.gave[0]].follows for step in run.steps.steps}
    assert follows["arange"] is False and follows["mul"] is False and follows["add"] is True


def test_attention_is_seen_as_what_it_is_made_of_and_the_model_stays_as_it_was() -> None:
    model = nn.MultiheadAttention(4, 2, batch_first=True).eval()
    run = watched(model, X[None], X[None], X[None])
    assert any("softmax" in step.name for step in run.steps.steps)
    assert model.in_proj_weight.dtype == torch.float32
    assert torch.backends.mha.get_fastpath_enabled()


def test_what_a_model_raises_is_kept() -> None:
    run = watched(nn.Linear(3, 3), X)
    assert isinstance(run.error, RuntimeError) and run.gave == {}
