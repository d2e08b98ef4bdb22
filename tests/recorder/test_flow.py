"""Where tensors come from: what the recorder says of each input and output, on small models counted by hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.helpers.flows import Net, flow, recorded, said, sides


def test_what_an_op_gives_was_made_by_it_and_views_by_theirs() -> None:
    class Views(Net):
        def forward(self, x: Tensor) -> Tensor:
            left, right = self.layer(x).view(2, 2, 2).unbind(1)
            return left + right.T

    assert flow(recorded(Views(), torch.ones(2, 4))) == [
        "0 Views(argument x) -> 5.0",
        "1 layer(argument x) -> 1.0",
        "2 Tensor.view(1.0) -> 2.0",
        "3 Tensor.unbind(2.0) -> 3.0, 3.1",
        "4 Tensor.T(3.1) -> 4.0",
        "5 +(3.0, 4.0) -> 5.0",
    ]


def test_parameters_buffers_and_attributes_have_qualified_names() -> None:
    class Holds(Net):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(4))
            self.register_buffer("shift", torch.ones(4))
            self.mask = torch.ones(4)
            self.inner = nn.Module()
            self.inner.gain = nn.Parameter(torch.ones(4))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.scale + self.shift * self.mask * self.inner.gain + self.layer.bias

    assert [said(leaf) for op in recorded(Holds(), torch.ones(2, 4)).ops or () for leaf in op.inputs] == [
        *("argument x", "parameter scale"),
        *("buffer shift", "attribute mask"),
        *("2.0", "parameter inner.gain"),
        *("1.0", "3.0"),
        *("4.0", "parameter layer.bias"),
    ]


def test_a_shared_parameter_has_the_name_that_torch_lists() -> None:
    class Tied(Net):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(4, 4)
            self.head.weight = self.layer.weight

        def forward(self, x: Tensor) -> Tensor:
            return F.linear(x, self.head.weight)

    assert flow(recorded(Tied(), torch.ones(2, 4)))[1] == "1 F.linear(argument x, parameter layer.weight) -> 1.0"


@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_writes_are_seen_in_place_by_operators_and_by_out(mode: Any) -> None:
    class Writes(Net):
        def forward(self, x: Tensor) -> Tensor:
            y = torch.empty(2, 4)
            torch.add(x, 1.0, out=y)
            y += x
            y = F.relu(y, inplace=True)
            return y + 1.0

    with mode():
        trace = recorded(Writes(), torch.ones(2, 4))
    assert flow(trace)[2:] == [
        "2 torch.add(argument x, 1.0) -> 1.0 !2",
        "3 +=(1.0 !2, argument x) -> 1.0 !3",
        "4 F.relu(1.0 !3) -> 1.0 !4",
        "5 +(1.0 !4) -> 5.0",
    ]


def test_a_write_through_a_view_is_seen_at_its_base_and_at_other_views() -> None:
    class Through(Net):
        def forward(self, x: Tensor) -> Tensor:
            y = self.layer(x)
            first = y[0]
            y[1] = 0.0
            first.mul_(2.0)
            return y + first

    with torch.no_grad():
        assert flow(recorded(Through(), torch.ones(2, 4)))[2:] == [
            "2 [](1.0) -> 2.0",
            "3 []=(1.0) -> ",
            "4 Tensor.mul_(2.0 !3) -> 2.0 !4",
            "5 +(1.0 !4, 2.0 !4) -> 5.0",
        ]


def test_a_module_that_writes_into_its_input_is_what_changed_it() -> None:
    class InPlace(Net):
        def __init__(self) -> None:
            super().__init__()
            self.act = nn.ReLU(inplace=True)

        def forward(self, x: Tensor) -> Tensor:
            y = self.layer(x)
            self.act(y)
            return y + x

    assert flow(recorded(InPlace(), torch.ones(2, 4))) == [
        "0 InPlace(argument x) -> 3.0",
        "1 layer(argument x) -> 1.0",
        "2 act(1.0) -> 1.0 !2",
        "3 +(1.0 !2, argument x) -> 3.0",
    ]


def test_what_hands_a_tensor_on_did_not_make_it() -> None:
    class HandsOn(Net):
        def __init__(self) -> None:
            super().__init__()
            self.block = nn.Sequential(nn.Identity(), nn.Dropout())

        def forward(self, x: Tensor) -> Tensor:
            return self.block(self.layer(x).contiguous()).float()

    lines = flow(recorded(HandsOn().eval(), torch.ones(2, 4)))
    assert [line.partition(" ")[2] for line in lines[2:]] == [
        "Tensor.contiguous(1.0) -> 1.0",
        *("block(1.0) -> 1.0", "block.0(1.0) -> 1.0", "block.1(1.0) -> 1.0"),
        "Tensor.float(1.0) -> 1.0",
    ]


@dataclass
class Result:
    hidden: Tensor
    extra: dict[str, Any]


def test_tensors_in_containers_have_sources_by_their_place() -> None:
    class Gives(Net):
        def forward(self, x: Tensor, state: dict[str, Tensor]) -> Result:
            y = self.layer(x)
            return Result(y, {"none": None, "state": state["a"], "both": [y + state["b"], state["b"]]})

    trace = recorded(Gives(), torch.ones(2, 4), state={"a": torch.ones(1), "b": torch.ones(1)})
    root = trace.call(0)
    assert [leaf.name for leaf in root.inputs] == ["x", "state.a", "state.b"]
    assert sides(root.outputs) == "1.0, argument state.a, 2.0, argument state.b"


def test_the_place_of_an_output_counts_all_leaves() -> None:
    class Pair(nn.Module):
        def forward(self, x: Tensor) -> tuple[None, Tensor]:
            return None, x + 1.0

    class Uses(Net):
        def __init__(self) -> None:
            super().__init__()
            self.pair = Pair()

        def forward(self, x: Tensor) -> Tensor:
            return self.pair(x)[1] * 2.0

    assert flow(recorded(Uses(), torch.ones(2, 4)))[1:] == ["1 pair(argument x) -> 1.1", "2 *(1.1) -> 2.0"]


def test_a_hook_that_replaces_is_named() -> None:
    def other_input(module: nn.Module, args: Any) -> Any:
        return (torch.zeros(2, 4),)

    def other_output(module: nn.Module, args: Any, output: Tensor) -> Any:
        return torch.full((2, 4), 3.0)

    class Hooked(Net):
        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x) + 1.0

    model = Hooked()
    model.layer.register_forward_pre_hook(other_input)
    model.layer.register_forward_hook(other_output)
    trace = recorded(model, torch.ones(2, 4))
    layer = trace.call(1)
    assert flow(trace)[1:] == ["1 layer(argument x) -> 1.0 by other_output", "2 +(1.0 by other_output) -> 2.0"]
    assert sides(layer.forward_inputs or ()).startswith("hook ") and "other_input" in sides(layer.forward_inputs or ())


def test_a_hook_that_puts_a_copy_in_place_is_named_though_it_changed_no_number() -> None:
    def copy(module: nn.Module, args: Any) -> Any:
        return (args[0].clone(),)

    def hands_on(module: nn.Module, args: Any) -> Any:
        return args

    class Hooked(Net):
        def __init__(self) -> None:
            super().__init__()
            self.block = nn.Sequential(nn.Linear(4, 4))

        def forward(self, x: Tensor) -> Any:
            return self.block(x)

    model = Hooked()
    model.block.register_forward_pre_hook(copy)
    model.block.register_forward_pre_hook(hands_on)
    trace = recorded(model, torch.ones(2, 4))
    source = trace.call(2).inputs[0].source
    assert source is not None and (source.hook or "").endswith("copy")
    assert not any(hook.changed for hook in trace.call(1).hooks)


def test_what_nobody_saw_being_made_has_no_source() -> None:
    constant = torch.ones(4)

    class Uses(Net):
        def forward(self, x: Tensor) -> Tensor:
            return x + constant + torch.from_numpy(constant.numpy())

    assert [said(leaf) for op in recorded(Uses(), torch.ones(2, 4)).ops or () for leaf in op.inputs][:2] == [
        "argument x",
        "?",
    ]


def test_a_module_that_gives_what_it_holds_did_not_make_it() -> None:
    class Table(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bias = nn.Parameter(torch.ones(4))
            self.register_buffer("steps", torch.ones(4))
            self.mask = torch.ones(4)

        def forward(self, x: Tensor) -> tuple[Tensor, ...]:
            self.last = x * 2.0
            return self.bias, self.steps, self.mask, self.last

    class Looks(Net):
        def __init__(self) -> None:
            super().__init__()
            self.table = Table()

        def forward(self, x: Tensor) -> Tensor:
            return sum(self.table(x), torch.zeros(()))

    assert sides(recorded(Looks(), torch.ones(4)).at("table")[0].outputs) == (
        "parameter table.bias, buffer table.steps, attribute table.mask, 1.3"
    )
