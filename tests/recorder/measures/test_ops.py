"""Functional ops between the calls: which are recorded, by what name, from which line, with nothing else changed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import BaseTorchFunctionMode, TorchFunctionMode

import fwdtrace
from fwdtrace.recorder.recorded import Options
from fwdtrace.recorder.recording import Recording
from fwdtrace.trace import Op, TensorMeta, Trace, Value
from tests.helpers.recorded import recorded

X = torch.ones(2, 4)


def ops(trace: Trace) -> list[str]:
    assert trace.ops is not None
    return [op.name for op in trace.ops]


class Runs(nn.Module):
    """A model whose forward is the function it was made with."""

    def __init__(self, step: Any) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.steps = (step,)

    def forward(self, x: Tensor) -> Any:
        return self.steps[0](self, x)


@pytest.mark.parametrize(
    ("step", "names"),
    [
        (lambda self, x: x + 1, ["+"]),
        (lambda self, x: 1 - x, ["-"]),
        (lambda self, x: x.add(1), ["Tensor.add"]),
        (lambda self, x: torch.add(x, 1), ["torch.add"]),
        (lambda self, x: x @ x.T, ["Tensor.T", "@"]),
        (lambda self, x: -x, ["-"]),
        (lambda self, x: x > 0, [">"]),
        (lambda self, x: x[0], ["[]"]),
        (lambda self, x: x[...], ["[]"]),
        (lambda self, x: x[:1], ["[]"]),
        (lambda self, x: x.type(torch.float64), ["Tensor.type"]),
        (lambda self, x: x.__setitem__(0, 1), ["Tensor.__setitem__"]),
        (lambda self, x: F.relu(x), ["F.relu"]),
        (lambda self, x: F.max_pool2d(x[None], 2), ["[]", "F.max_pool2d"]),
        (lambda self, x: torch.flatten(x), ["torch.flatten"]),
        (lambda self, x: torch.cat([x, x]), ["torch.cat"]),
        (lambda self, x: x.view(-1).reshape(2, 4), ["Tensor.view", "Tensor.reshape"]),
        (lambda self, x: torch.mm(x, x.T), ["Tensor.T", "torch.mm"]),
        (lambda self, x: torch.einsum("ij->ji", x), ["torch.einsum"]),
        (lambda self, x: torch.zeros(3), ["torch.zeros"]),
        (lambda self, x: (x.shape, x.size(0), x.dim(), x.dtype, x.is_cuda, len(x), x.type()), []),
        (lambda self, x: (x.sum().item(), bool(x.any())), ["Tensor.sum", "Tensor.any"]),
        (lambda self, x: F.scaled_dot_product_attention(x, x, x), ["F.scaled_dot_product_attention"]),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) and value else "",
)
def test_an_op_has_the_name_its_user_knows(step: Any, names: list[str]) -> None:
    assert ops(recorded(Runs(step), X.clone(), ops=True)) == names


def test_ops_and_calls_share_one_count_in_order_of_beginning() -> None:
    trace = recorded(Runs(lambda self, x: torch.tanh(self.layer(x + 1))), X, ops=True)
    assert trace.ops is not None
    assert [(call.id, call.path) for call in trace.calls] == [(0, ""), (2, "layer")]
    assert [(op.id, op.parent, op.name) for op in trace.ops] == [(1, 0, "+"), (3, 0, "torch.tanh")]


def test_an_op_has_its_line_and_its_leaves() -> None:
    (op,) = recorded(Runs(cat_with_itself), X, ops=True).ops or ()
    assert op.site is not None and (op.site.function, op.site.code) == (
        "cat_with_itself",
        "return torch.cat((x, x), dim=0)",
    )
    assert [leaf.name for leaf in op.inputs] == ["0[0]", "0[1]", "dim"]
    assert op.inputs[2] == Value("dim", "0")
    assert op.outputs[0].shape == (4, 4)  # type: ignore[union-attr]


def cat_with_itself(self: nn.Module, x: Tensor) -> Tensor:
    return torch.cat((x, x), dim=0)


def test_the_operands_of_an_operator_are_in_the_order_of_the_code() -> None:
    for step, place in ((lambda self, x: 8 / x, 0), (lambda self, x: x / 8, 1), (lambda self, x: 1 - x, 0)):
        (op,) = recorded(Runs(step), X, ops=True).ops or ()
        assert [isinstance(leaf, Value) for leaf in op.inputs] == [place == 0, place == 1]
        assert [leaf.name for leaf in op.inputs] == ["0", "1"]


def test_an_op_that_raises_is_recorded_with_its_error() -> None:
    model = Runs(lambda self, x: x.view(3, 3))
    with pytest.raises(RuntimeError), fwdtrace.record(model, ops=True) as recording:
        model(X)
    (op,) = recording.trace.ops or ()
    assert op.error is not None and op.error.message == "shape '[3, 3]' is invalid for input of size 8"
    assert recording.trace.calls[0].error is not None and not recording.trace.calls[0].error.raised_below


def test_ops_inside_leaf_modules_and_torchs_own_are_not_recorded() -> None:
    class Norm(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x / x.norm()

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = Norm()
            self.encoder = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.encoder(self.norm(x)[None]) + 1

    trace = recorded(Net().train(), X, ops=True)
    assert ops(trace) == ["[]", "+"]
    assert len(trace.calls) > 3


def test_ops_inside_leaf_modules_of_ones_own_are_recorded_where_it_is_looked_for_what_is_not_finite() -> None:
    class Scale(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x / x.sum()

    model = nn.Sequential(Scale(), nn.ReLU())
    for check_finite, names in [(False, []), (True, ["Tensor.sum", "/"]), (False, [])]:
        with Recording(model, Options(ops=True, check_finite=check_finite)) as recording:
            model(X)
        assert ops(recording.trace) == names


def test_the_ops_of_a_root_without_submodules_are_recorded() -> None:
    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * 2

    assert ops(recorded(Net(), X, ops=True)) == ["*"]


def test_fused_transformer_layers_stay_fused_while_ops_are_recorded() -> None:
    layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True).eval()
    model = Runs(lambda self, x: layer(x[None]) + 1)
    trace = recorded(model, X, ops=True)
    assert [call.class_name for call in trace.calls] == ["Runs", "TransformerEncoderLayer"]
    assert ops(trace) == ["[]", "+"]


def test_a_model_that_is_a_fused_transformer_layer_stays_fused_while_ops_are_recorded() -> None:
    layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True).eval()
    trace = recorded(layer, X[None], ops=True)
    assert [call.class_name for call in trace.calls] == ["TransformerEncoderLayer"] and ops(trace) == []


def test_without_ops_the_trace_has_none() -> None:
    model = Runs(lambda self, x: x + 1)
    with fwdtrace.record(model) as recording:
        model(X)
    assert recording.trace.ops is None


def test_a_mode_of_the_users_works_as_without_us() -> None:
    class Counts(TorchFunctionMode):
        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            names.append(function.__name__)
            return function(*args, **(kwargs or {}))

    def step(self: nn.Module, x: Tensor) -> Tensor:
        with Counts():
            return self.layer(x + 1) * 2

    names: list[str] = []
    model = Runs(step)
    model(X)
    bare, names = names, []
    trace = recorded(model, X, ops=True)
    assert names == bare
    assert ops(trace) == ["Tensor.add", "Tensor.mul"]


def test_a_mode_that_forward_leaves_on_stays_on_and_ours_goes() -> None:
    mode = BaseTorchFunctionMode()

    class Leaves(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            mode.__enter__()
            return x + 1

    trace = recorded(Leaves(), X, ops=True)
    assert torch.overrides._get_current_function_mode_stack() == [mode]
    mode.__exit__(None, None, None)
    assert ops(trace) == ["+"]


def test_a_torch_device_context_in_forward_still_places_tensors() -> None:
    def step(self: nn.Module, x: Tensor) -> Tensor:
        with torch.device("meta"):
            return torch.zeros(3)

    trace = recorded(Runs(step), X, ops=True)
    assert trace.calls[0].outputs[0].device == "meta"  # type: ignore[union-attr]
    assert ops(trace) == ["torch.zeros"]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("dynamo")
def test_a_compiled_function_called_in_forward_works_while_ops_are_recorded() -> None:
    compiled = torch.compile(lambda x: torch.sin(x) + 1, backend="eager")
    trace = recorded(Runs(lambda self, x: compiled(x)), X, ops=True)
    assert trace.calls[0].outputs[0].shape == (2, 4)  # type: ignore[union-attr]


def test_backward_through_a_model_whose_ops_are_recorded_gives_the_same_gradient() -> None:
    model = Runs(lambda self, x: torch.tanh(self.layer(x) * 2))
    model(X).sum().backward()
    bare = model.layer.weight.grad
    model.layer.weight.grad = None
    with fwdtrace.record(model, ops=True):
        model(X).sum().backward()
    assert bare is not None and model.layer.weight.grad is not None and torch.equal(bare, model.layer.weight.grad)


def test_functional_lenet_is_an_unbroken_chain() -> None:
    class LeNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.c1, self.c3 = nn.Conv2d(3, 6, 5), nn.Conv2d(6, 16, 5)
            self.f5, self.f6, self.f7 = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, 10)

        def forward(self, x: Tensor) -> Tensor:
            x = F.max_pool2d(F.relu(self.c1(x)), 2)
            x = F.max_pool2d(F.relu(self.c3(x)), 2)
            x = torch.flatten(x, 1) + 1.0
            return self.f7(F.relu(self.f6(F.relu(self.f5(x)))))

    trace = recorded(LeNet(), torch.zeros(1, 3, 32, 32), ops=True)
    assert trace.ops is not None
    rows: list[Any] = sorted([*trace.calls[1:], *trace.ops], key=lambda row: row.id)
    seen = {trace.calls[0].inputs[0].shape}  # type: ignore[union-attr]
    for row in rows:
        assert row.inputs[0].shape in seen, row
        seen.add(row.outputs[0].shape)
    assert [row.path if not isinstance(row, Op) else row.name for row in rows] == [
        "c1", "F.relu", "F.max_pool2d", "c3", "F.relu", "F.max_pool2d", "torch.flatten", "+",
        "f5", "F.relu", "f6", "F.relu", "f7",
    ]  # fmt: skip


def test_each_op_of_one_line_is_described_by_what_it_was_given_itself() -> None:
    given = [2, 2, 3, 2.0, True, X, X, X.double(), X[:1], torch.ones(4, requires_grad=True), X, 2]

    def step(model: Any, x: Tensor) -> Tensor:
        y = x + 0
        for other in given:
            y.mul(other)
        for named in ({"dim": 0}, {"dim": 0}, {"dim": 1}, {"keepdim": True, "dim": 1}, {"dim": 1, "keepdim": True}):
            y.sum(**named)
        for change in (lambda: None, y.requires_grad_, lambda: setattr(y, "data", torch.ones(3)), lambda: None):
            change()
            y.neg()
        return y

    recorded_ops = recorded(Runs(step), X, ops=True).ops or ()
    others = [op.inputs[1] for op in recorded_ops if op.name == "Tensor.mul"]
    assert [
        leaf.value if isinstance(leaf, Value) else (leaf.shape, leaf.dtype, leaf.requires_grad) for leaf in others
    ] == [
        *("2", "2", "3", "2.0", "True", ((2, 4), "float32", False), ((2, 4), "float32", False)),
        *(((2, 4), "float64", False), ((1, 4), "float32", False), ((4,), "float32", True)),
        *(((2, 4), "float32", False), "2"),
    ]
    summed = [op.inputs[1:] for op in recorded_ops if op.name == "Tensor.sum"]
    assert [[(leaf.name, leaf.value) for leaf in leaves if isinstance(leaf, Value)] for leaves in summed] == [
        *([("dim", "0")], [("dim", "0")], [("dim", "1")]),
        *([("keepdim", "True"), ("dim", "1")], [("dim", "1"), ("keepdim", "True")]),
    ]
    negated = [op.inputs[0] for op in recorded_ops if op.name == "Tensor.neg"]
    assert [(leaf.shape, leaf.requires_grad) for leaf in negated if isinstance(leaf, TensorMeta)] == [
        *(((2, 4), False), ((2, 4), True), ((3,), True), ((3,), True)),
    ]
