"""FT008 on small models whose gradients do not arrive."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fwdtrace
from fwdtrace.recorder.torch_internals import SAVED_CAN_BE_READ
from fwdtrace.trace import TensorMeta
from tests.helpers.models import Chain

X = torch.ones(2, 4)
YES = (TensorMeta("", (1, 16), "float32", requires_grad=True),)


def messages_and_lines(model: nn.Module, x: Tensor = X, *, ops: bool = False) -> list[tuple[str, str]]:
    """The messages of FT008 after a backward from the sum of the output, with the lines of code that they point at."""
    with fwdtrace.record(model, ops=ops, gradients=True) as recording:
        output = model(x)
        if output.requires_grad:
            output.sum().backward()
    findings = [finding for finding in recording.trace.findings if finding.code == "FT008"]
    return [(finding.message, finding.site.code if finding.site else "") for finding in findings]


def test_a_model_all_of_whose_gradients_arrive_has_no_finding() -> None:
    assert messages_and_lines(Chain()) == []


def test_a_backward_that_did_not_run_is_one_finding() -> None:
    model = Chain()
    with fwdtrace.record(model, gradients=True) as recording:
        model(X)
    (finding,) = recording.trace.findings
    assert finding.message == "no parameter has a gradient: no backward ran in the recording"


@pytest.mark.skipif(not SAVED_CAN_BE_READ, reason="this torch does not show what backward saved")
def test_a_zero_gradient_is_a_finding() -> None:
    class Dead(Chain):
        def forward(self, x: Tensor) -> Tensor:
            return self.second(torch.relu(self.first(x) - 100))

    (first, line), (second, _) = messages_and_lines(Dead())
    assert first == (
        "first (20 parameters) got a gradient of exactly 0, made in the backward of relu in the model:"
        " its result is 0 everywhere, as no element of its input is above 0: a dead ReLU"
    )
    assert second == (
        "second.weight (12 parameters) got a gradient of exactly 0, made in the backward of second:"
        " its input of 2×4 is 0 everywhere"
    )
    assert line == "output = model(x)"


def test_a_square_root_of_zero_is_found_by_its_gradient() -> None:
    class Root(Chain):
        def forward(self, x: Tensor) -> Tensor:
            return self.second((self.first(x) * 0).abs().sqrt())

    (message, line), (zero, _) = messages_and_lines(Root(), ops=True)
    assert zero.startswith("second.weight (12 parameters) got a gradient of exactly 0")
    assert message == (
        "first (20 parameters) got NaN or infinite gradients, made in the backward of Tensor.sqrt in the model"
    )
    assert line == "return self.second((self.first(x) * 0).abs().sqrt())"


def test_the_outermost_call_under_no_grad_is_named_with_its_line() -> None:
    class Frozen(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = Chain(), nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Any:
            with torch.no_grad():
                x = self.body(x)
            return self.head(x)

    assert messages_and_lines(Frozen()) == [
        (
            "body (35 parameters) got no gradient: body ran under torch.no_grad()",
            "x = self.body(x)",
        )
    ]


def test_a_whole_model_under_no_grad_is_one_finding() -> None:
    with torch.no_grad():
        ((message, _),) = messages_and_lines(Chain())
    assert message == "every parameter (35 parameters) got no gradient: the model ran under torch.no_grad()"


class Detaches(Chain):
    """The result of the first layer is cut off before it comes to the second."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        x = x.detach()
        return self.second(x)


def test_a_detach_is_named_with_its_line_if_ops_were_recorded() -> None:
    assert messages_and_lines(Detaches(), ops=True) == [
        ("first (20 parameters) got no gradient: Tensor.detach cut the graph", "x = x.detach()")
    ]


def test_without_ops_nothing_is_said_that_was_not_seen() -> None:
    assert messages_and_lines(Detaches()) == [
        (
            "first (20 parameters) got no gradient: backward never came to first;"
            " with the ops recorded, it can be said where the path broke",
            "x = self.first(x)",
        )
    ]


def test_a_result_detached_inside_the_module_around_is_named_there() -> None:
    class Inner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Any:
            return torch.from_numpy(self.layer(x).detach().numpy())

    model = nn.Sequential(Inner(), nn.Linear(4, 2))
    ((message, line),) = messages_and_lines(model, ops=True)
    assert message == "0 (20 parameters) got no gradient: Tensor.detach cut the graph"
    assert line == "return torch.from_numpy(self.layer(x).detach().numpy())"


def test_a_result_that_is_not_used_is_a_finding() -> None:
    class Idle(Chain):
        def forward(self, x: Tensor) -> Tensor:
            self.second(x)
            return self.first(x)

    assert messages_and_lines(Idle(), ops=True) == [
        (
            "second (15 parameters) got no gradient: nothing that was observed used what second gave",
            "self.second(x)",
        )
    ]


def test_a_parameter_that_its_module_did_not_use_is_a_finding() -> None:
    class Spare(Chain):
        def __init__(self) -> None:
            super().__init__()
            self.spare = nn.Parameter(torch.ones(3))

    ((message, _),) = messages_and_lines(Spare())
    assert message == (
        "spare (3 parameters) got no gradient: the model ran, but what reached the loss does not depend on them"
    )


def test_a_spectral_norm_that_a_direct_call_skipped_is_the_reason() -> None:
    class Direct(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)
                self.layer: nn.Linear = nn.utils.spectral_norm(nn.Linear(4, 4))

        def forward(self, x: Tensor) -> Tensor:
            return self.layer.forward(x)

    assert messages_and_lines(Direct()) == [
        (
            "layer.weight_orig (16 parameters) got no gradient: spectral_norm did not act,"
            " as the forward of layer ran without __call__",
            "return self.layer.forward(x)",
        )
    ]


def test_the_projection_of_attention_shares_the_reason_of_the_attention() -> None:
    class Frozen(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention, self.head = nn.MultiheadAttention(4, 2), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Any:
            with torch.no_grad():
                x, _ = self.attention(x, x, x)
            return self.head(x)

    ((message, _),) = messages_and_lines(Frozen())
    assert message == "attention (80 parameters) got no gradient: attention ran under torch.no_grad()"


@pytest.mark.parametrize("depth", [1, 40])
def test_many_layers_under_no_grad_are_one_finding(depth: int) -> None:
    class Deep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(depth))
            self.head = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Any:
            with torch.no_grad():
                for layer in self.layers:
                    x = layer(x)
            return self.head(x)

    messages = [message for message, _ in messages_and_lines(Deep())]
    assert len(messages) == 1 and messages[0].startswith(f"layers ({20 * depth:,} parameters) got no gradient:")


class Hooked(Chain):
    """A hook on what the first layer gives puts NaN in the place of its gradient."""

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.first(x)
        hidden.register_hook(lambda gradient: gradient * float("nan"))
        return self.second(hidden)


def spoiled(model: nn.Module) -> list[tuple[str, str]]:
    """What FT005 and FT008 say after a backward."""
    with fwdtrace.record(model, ops=True, gradients=True) as recording:
        model(X).sum().backward()
    return [(finding.code, finding.message) for finding in recording.trace.findings if finding.code != "FT009"]


def test_a_hook_on_a_tensor_that_makes_nan_of_its_gradient_is_named() -> None:
    assert spoiled(Hooked()) == [
        ("FT005", "a hook on what first (Linear) gave made NaN or infinite values of its gradient, which was finite"),
        ("FT008", "first (20 parameters) got NaN or infinite gradients, made by a hook on the result of first"),
    ]


def test_a_gradient_that_is_spoiled_after_its_backward_is_not_blamed_on_a_step() -> None:
    model = Chain()
    model.first.weight.register_hook(lambda gradient: gradient / 0)
    (five, first), (eight, second) = spoiled(model)
    assert (five, eight) == ("FT005", "FT008")
    assert first == (
        "the gradient of first.weight was finite when the backward of first (Linear) gave it, and is not now: a hook on"
        " the parameter, or what ran after backward, made it so"
    )
    assert second == (
        "first.weight (16 parameters) got NaN or infinite gradients, though they were finite at the end of the backward"
        " of first"
    )


def test_a_backward_hook_of_a_module_that_makes_infinities_is_named() -> None:
    model = Chain()
    model.second.register_full_backward_hook(lambda module, given, taken: (given[0] / 0,))
    (_, message), *_ = spoiled(model)
    assert message.startswith("the backward of second (Linear) made ")
    assert message.endswith(" out of a finite gradient: a backward hook made it, <lambda>")
