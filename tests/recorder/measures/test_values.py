"""What is measured of values when asked: where NaN and infinities come up, statistics, and what hooks replaced."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import fwdtrace
from fwdtrace.recorder.measures.keeper import Keeper
from fwdtrace.recorder.recorded import Options
from fwdtrace.recorder.recording import Recording
from fwdtrace.trace import NonFinite, Operand, Stats, TensorMeta
from tests.helpers.recorded import recorded

X = torch.tensor([[1.0, -1.0, 0.0, 4.0]])


class Logarithm(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.log()


def test_the_call_that_made_a_nan_of_finite_inputs_is_told_from_those_that_passed_it_on() -> None:
    trace = recorded(nn.Sequential(nn.Identity(), Logarithm(), nn.ReLU()), X, check_finite=True)
    there = Operand("x", (1, 4), "float32", Stats(-0.5, 0.5, -1.0, 0.0, zeros=1, nan=0, inf=0))
    assert [call.nonfinite for call in trace.calls] == [
        NonFinite(1, 0, inputs_finite=True),
        None,
        NonFinite(1, 1, inputs_finite=True, operands=(there,)),
        NonFinite(1, 0, inputs_finite=False),
    ]


def test_an_op_that_made_an_infinity_is_noted() -> None:
    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x + 1) / 0

    trace = recorded(Net(), torch.ones(3), ops=True, check_finite=True)
    assert trace.ops is not None
    given = Operand("0", (3,), "float32", Stats(2.0, 0.0, 2.0, 2.0, zeros=0, nan=0, inf=0))
    assert [(op.name, op.nonfinite) for op in trace.ops] == [("+", None), ("/", NonFinite(0, 3, True, (), (given,)))]


def test_parameters_that_are_not_finite_are_named() -> None:
    layer = nn.Linear(4, 4)
    with torch.no_grad():
        layer.weight[0, 0] = torch.nan
    call = recorded(nn.Sequential(layer), X, check_finite=True).calls[1]
    assert call.nonfinite == NonFinite(1, 0, inputs_finite=True, parameters=("weight",))


def test_inputs_of_the_model_that_are_not_finite_are_named() -> None:
    class Net(nn.Module):
        def forward(self, x: Tensor, *more: Tensor, mask: dict[str, Tensor]) -> Tensor:
            return x + sum(more) + mask["inner"]

    fine, spoiled = torch.ones(2), torch.tensor([1.0, torch.nan])
    net = Net()
    with fwdtrace.record(net, check_finite=True) as recording:
        net(fine, fine, spoiled, mask={"outer": fine, "inner": spoiled})
    assert [call.nonfinite for call in recording.trace.calls] == [
        NonFinite(1, 0, inputs_finite=False, spoiled_inputs=("more[1]", "mask.inner"))
    ]


def test_a_tensor_that_became_nan_in_place_is_looked_at_again() -> None:
    class Spoils(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.fill_(torch.nan)

    trace = recorded(nn.Sequential(nn.Identity(), Spoils(), nn.Identity()), torch.ones(2), check_finite=True)
    assert [call.nonfinite and call.nonfinite.inputs_finite for call in trace.calls[1:]] == [None, True, False]


def test_a_sum_that_overflows_is_not_taken_for_an_infinity() -> None:
    trace = recorded(nn.Identity(), torch.full((4,), 3e38), check_finite=True)
    assert trace.calls[0].nonfinite is None


def test_statistics_are_of_the_finite_elements() -> None:
    trace = recorded(nn.Identity(), torch.tensor([1.0, 3.0, 0.0, 0.0, torch.nan, torch.inf]), stats=True)
    (leaf,) = trace.calls[0].outputs
    assert isinstance(leaf, TensorMeta) and leaf.stats is not None
    assert leaf.stats == Stats(1.0, pytest.approx(1.5**0.5), 0.0, 3.0, zeros=2, nan=1, inf=1)


@pytest.mark.parametrize(
    ("value", "stats"),
    [
        (torch.tensor([True, False]), Stats(0.5, 0.5, 0.0, 1.0, 1, 0, 0)),
        (torch.tensor([3 + 4j]), Stats(5.0, 0.0, 5.0, 5.0, 0, 0, 0)),
        (torch.tensor([torch.nan]), Stats(None, None, None, None, 0, 1, 0)),
        (torch.empty(0), None),
        (torch.empty(2, device="meta"), None),
        (torch.eye(2).to_sparse(), Stats(0.5, 0.5, 0.0, 1.0, 2, 0, 0)),
    ],
    ids=str,
)
def test_statistics_of_other_kinds_of_tensors(value: Tensor, stats: Stats | None) -> None:
    (leaf,) = recorded(nn.Identity(), value, stats=True).calls[0].outputs
    assert isinstance(leaf, TensorMeta) and leaf.stats == stats


def test_without_asking_nothing_is_measured() -> None:
    trace = recorded(Logarithm(), X)
    assert trace.calls[0].nonfinite is None
    assert trace.calls[0].outputs == (TensorMeta("", (1, 4), "float32"),)


def test_what_a_hook_replaced_is_shown_as_forward_saw_it() -> None:
    model = nn.Sequential(nn.Linear(4, 3))
    model[0].register_forward_pre_hook(lambda module, args: (torch.cat([args[0], args[0]]),))
    model[0].register_forward_hook(lambda module, args, output: output[:, :1])
    call = recorded(model, X).calls[1]
    assert [leaf.shape for leaf in call.inputs if isinstance(leaf, TensorMeta)] == [(1, 4)]
    assert call.forward_inputs == (TensorMeta("input", (2, 4), "float32"),)
    assert call.forward_outputs == (TensorMeta("", (2, 3), "float32"),)
    assert [leaf.shape for leaf in call.outputs if isinstance(leaf, TensorMeta)] == [(2, 1)]


def test_a_hook_that_only_looks_leaves_nothing_to_show() -> None:
    model = nn.Sequential(nn.Linear(4, 3))
    model[0].register_forward_hook(lambda module, args, output: None)
    call = recorded(model, X).calls[1]
    assert (call.forward_inputs, call.forward_outputs) == (None, None)


def test_the_call_that_raised_shows_its_parameters_and_settings() -> None:
    model = nn.Sequential(nn.Linear(5, 3))
    with pytest.raises(RuntimeError), fwdtrace.record(model) as recording:
        model(X)
    root, call = recording.trace.calls
    assert call.state == (
        TensorMeta("weight", (3, 5), "float32", requires_grad=True),
        TensorMeta("bias", (3,), "float32", requires_grad=True),
    )
    assert call.settings == "in_features=5, out_features=3, bias=True"
    assert (root.state, root.settings) == ((), None)


def test_modules_with_parameters_that_did_not_run_are_listed() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 2), nn.ReLU())

        def forward(self, x: Tensor) -> Tensor:
            return self.used(x)

    trace = recorded(Net(), X)
    assert [(each.path, each.class_name, each.parameters) for each in trace.uncalled] == [("unused.0", "Linear", 10)]


def test_modes_of_the_users_see_the_ops_of_the_model_and_none_of_ours() -> None:
    class Counts(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            self.count += 1
            return function(*args, **(kwargs or {}))

    model, x = nn.Sequential(nn.Linear(4, 4), nn.ReLU()), torch.ones(2, 4)
    with Counts() as bare:
        model(x)
    with Counts() as watched, fwdtrace.record(model, ops=True, check_finite=True, stats=True):
        model(x)
    keeper = Keeper(1_000_000, fingerprints=True)
    with Counts() as kept, Recording(model, Options(keeper=keeper)):
        model(x)
    assert bare.count == watched.count == kept.count > 0
