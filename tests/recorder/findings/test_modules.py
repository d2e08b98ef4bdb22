"""FT003, FT004 and the fused paths of FT007 on small models that have them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fwdtrace
from fwdtrace.models.zoo.lenet import LeNet
from tests.helpers.recorded import recorded

X = torch.ones(2, 4)


def found_in(model: nn.Module, *args: Any, code: str) -> list[str]:
    """The messages of the findings with this code, of a call in eval mode."""
    return [finding.message for finding in recorded(model.eval(), *args).findings if finding.code == code]


def test_a_plain_lenet_has_nothing_to_tell() -> None:
    assert recorded(LeNet(), torch.rand(1, 3, 32, 32)).findings == ()


def test_a_shared_batch_norm_in_training_mixes_its_statistics() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(4)

        def forward(self, x: Tensor) -> Any:
            a = self.norm(x)
            b = self.norm(x * 2)
            return a + b

    model = Shared()
    with fwdtrace.record(model) as recording:
        model(torch.rand(3, 4))
    (finding,) = recording.trace.findings
    assert finding.code == "FT004"
    assert finding.message.endswith("with the same weights and running statistics, which then mix")


def test_two_forward_passes_share_nothing() -> None:
    model = nn.Sequential(nn.Linear(4, 4))
    with fwdtrace.record(model) as recording:
        model(X)
        model(X)
    assert recording.trace.findings == ()


FUSED = (
    "(TransformerEncoderLayer) ran its fused path: one kernel computed it, no module inside it was called;"
    " --no-fused, or torch.backends.mha.set_fastpath_enabled(False), runs them"
)


def test_the_fused_path_of_torch_is_told_with_whose_weights_it_read() -> None:
    layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
    assert found_in(layer, torch.rand(1, 3, 4), code="FT007") == [f"the model {FUSED}"]
    (message,) = found_in(layer, torch.rand(1, 3, 4), code="FT003")
    assert "the fused path of TransformerEncoderLayer reads the weights itself" in message


def test_without_the_fused_path_only_the_projection_that_is_never_called_is_told() -> None:
    layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True, norm_first=False, activation="gelu", dropout=0.0)
    layer.self_attn.in_proj_bias.requires_grad_(True)
    layer.train()
    with fwdtrace.record(layer) as recording:
        layer(torch.rand(1, 3, 4))
    assert [finding.code for finding in recording.trace.findings] == ["FT003"]
    assert recording.trace.findings[0].message.startswith("self_attn.out_proj (20 parameters) did not run, but Multi")


@pytest.mark.parametrize("used", [True, False])
def test_a_weight_that_a_function_uses_is_told_apart_by_its_gradient(used: bool) -> None:
    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Any:
            x = self.first(x)
            return nn.functional.linear(x, self.second.weight) if used else x

    model = Functional()
    with fwdtrace.record(model, gradients=True) as recording:
        model(X).sum().backward()
    messages = [finding.message for finding in recording.trace.findings if finding.code == "FT003"]
    assert len(messages) == 1 and ("the weights got gradients" in messages[0]) is used


def test_of_a_container_called_from_two_lines_the_container_is_told() -> None:
    class Siamese(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tower = nn.Sequential(nn.Linear(4, 4), nn.ReLU())

        def forward(self, x: Tensor) -> Any:
            a = self.tower(x)
            b = self.tower(-x)
            return a - b

    (finding,) = recorded(Siamese(), X).findings
    assert finding.message.startswith("tower (Sequential) ran 2 times, from line ")
