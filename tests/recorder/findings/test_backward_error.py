"""FT011 on small models whose backward raises."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fwdtrace.recorder.torch_internals import SAVED_CAN_BE_READ
from tests.helpers.training import findings, images, layer, net

pytestmark = pytest.mark.skipif(not SAVED_CAN_BE_READ, reason="this torch does not show what backward saved")


def relu_on_sigmoid(model: Any, x: Tensor) -> Tensor:
    gate = torch.sigmoid(model.a(x))
    gate.relu_()
    return model.out(gate)


def adds_to_a_view(model: Any, x: Tensor) -> Tensor:
    h = torch.tanh(model.a(x))
    flat = h.view(-1)
    flat += 1
    return model.out(h)


def sets_a_row(model: Any, x: Tensor) -> Tensor:
    h = torch.exp(model.a(x))
    h[0] = 0
    return model.out(h)


def scales_a_factor(model: Any, x: Tensor) -> Tensor:
    h = model.a(x)
    square = h * h
    h.mul_(2)
    return model.out(square + h)


def adds_to_the_input_of_a_layer(model: Any, x: Tensor) -> Tensor:
    h = model.a(x)
    y = model.b(h)
    h += y
    return model.out(h)


def drops_in_place(model: Any, x: Tensor) -> Tensor:
    p = torch.softmax(model.a(x), -1)
    p = model.drop(p)
    return model.out(p)


def fills_in_place(model: Any, x: Tensor) -> Tensor:
    e = model.a(x).exp()
    e.masked_fill_(e > 1, 0.0)
    return model.out(e)


def writes_a_buffer(model: Any, x: Tensor) -> Tensor:
    y = model.a(x) * model.memory
    model.memory.add_(1)
    return y


class Gate(nn.Module):
    """A gate that writes into the result of a sigmoid."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = layer()

    def forward(self, x: Tensor) -> Tensor:
        gate = torch.sigmoid(self.layer(x))
        gate += 0.1
        return gate


def gate_in_a_checkpoint(model: Any, x: Tensor) -> Any:
    return model.out(checkpoint(model.gate, model.a(x), use_reentrant=True))


NEEDS = "needs as it was"
WRITERS: list[tuple[Any, dict[str, Any], str, str]] = [
    (
        relu_on_sigmoid, {},
        "Tensor.relu_ in the model wrote into the output of torch.sigmoid in the model"
        f" (gate = torch.sigmoid(model.a(x))), which the backward of torch.sigmoid {NEEDS}",
        "gate.relu_()",
    ),
    (
        adds_to_a_view, {},
        "+= in the model wrote into the output of torch.tanh in the model (h = torch.tanh(model.a(x))),"
        f" which the backward of torch.tanh {NEEDS}",
        "flat += 1",
    ),
    (
        sets_a_row, {},
        "[]= in the model wrote into the output of torch.exp in the model (h = torch.exp(model.a(x))),"
        f" which the backward of torch.exp {NEEDS}",
        "h[0] = 0",
    ),
    (
        scales_a_factor, {},
        "Tensor.mul_ in the model wrote into the output of a (h = model.a(x)),"
        f" which the backward of * in the model (square = h * h) {NEEDS}",
        "h.mul_(2)",
    ),
    (
        adds_to_the_input_of_a_layer, {"b": layer()},
        "+= in the model wrote into the output of a (h = model.a(x)),"
        f" which the backward of b (y = model.b(h)) {NEEDS}",
        "h += y",
    ),
    (
        drops_in_place, {"drop": nn.Dropout(0.5, inplace=True)},
        "drop wrote into the output of torch.softmax in the model (p = torch.softmax(model.a(x), -1)),"
        f" which the backward of torch.softmax {NEEDS}",
        "p = model.drop(p)",
    ),
    (
        fills_in_place, {},
        "Tensor.masked_fill_ in the model wrote into the output of Tensor.exp in the model (e = model.a(x).exp()),"
        f" which the backward of Tensor.exp {NEEDS}",
        "e.masked_fill_(e > 1, 0.0)",
    ),
    (
        writes_a_buffer, {"memory": nn.Buffer(torch.ones(3, 4))},
        "Tensor.add_ in the model wrote into memory,"
        f" which the backward of * in the model (y = model.a(x) * model.memory) {NEEDS}",
        "model.memory.add_(1)",
    ),
    (
        gate_in_a_checkpoint, {"gate": Gate()},
        "+= in gate wrote into the output of torch.sigmoid in gate (gate = torch.sigmoid(self.layer(x))),"
        f" which the backward of torch.sigmoid {NEEDS}",
        "gate += 0.1",
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("forward", "parts", "message", "line"), WRITERS, ids=lambda case: getattr(case, "__name__", "")
)
def test_who_wrote_and_whose_backward_needs_it_are_named(
    forward: Any, parts: dict[str, Any], message: str, line: str
) -> None:
    model = net(forward, a=layer(), out=layer(), **parts)
    assert findings(model, images()) == [("FT011", message, line)]


def test_every_writer_is_named_in_order() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.act = layer(), nn.ReLU(inplace=True)

        def forward(self, x: Tensor) -> Any:
            y = self.layer(x)
            x += y
            return self.act(x)

    model = nn.Sequential(layer(), Residual(), Residual())
    ((code, message, line),) = findings(model, images())
    assert (code, line) == ("FT011", "x += y")
    assert message == (
        "+= in 2 (x += y) and 2.act (return self.act(x)) wrote into the output of 1.act (return self.act(x)),"
        " which the backward of 2.layer (y = self.layer(x)) needs as it was"
    )


def test_a_write_in_one_of_two_equal_blocks_is_told_from_that_in_the_other() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.act, self.drop = layer(), nn.ReLU(inplace=True), nn.Dropout(0.1, inplace=True)

        def forward(self, x: Tensor) -> Any:
            h = self.act(self.layer(x))
            gate = torch.sigmoid(h)
            h = self.drop(h)
            return h * gate

    ((_, message, line),) = findings(nn.Sequential(Block(), Block()), images()[None])
    assert message == (
        "1.drop wrote into the output of 1.layer (h = self.act(self.layer(x))),"
        " which the backward of 1.act (h = self.act(self.layer(x))) needs as it was"
    )
    assert line == "h = self.drop(h)"


def test_a_weight_written_before_backward_is_named() -> None:
    def steps(model: nn.Module, x: Tensor) -> None:
        loss = model(x).sum()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(1.0)
        loss.backward()

    def forward(model: Any, x: Tensor) -> Tensor:
        return model.out(torch.relu(model.a(x)))

    ((code, message, line),) = findings(net(forward, a=layer(), out=layer()), images(), steps=steps)
    assert (code, line) == ("FT011", "return model.out(torch.relu(model.a(x)))")
    assert message.startswith("something that was not observed, as outside of the model, wrote into out.weight,")


def test_a_write_into_the_output_outside_of_the_model_is_told_as_such() -> None:
    def forward(model: Any, x: Tensor) -> Tensor:
        return torch.exp(model.a(x))

    def steps(model: nn.Module, x: Tensor) -> None:
        output = model(x)
        output += 1
        output.sum().backward()

    ((code, message, _),) = findings(net(forward, a=layer()), images(), steps=steps)
    assert code == "FT011"
    assert message.startswith(
        "something that was not observed, as outside of the model, wrote into the output of torch.exp"
    )


def test_an_error_that_the_program_caught_is_explained_too() -> None:
    def steps(model: nn.Module, x: Tensor) -> None:
        with contextlib.suppress(RuntimeError):
            model(x).sum().backward()

    ((code, _, line),) = findings(net(relu_on_sigmoid, a=layer(), out=layer()), images(), steps=steps)
    assert (code, line) == ("FT011", "gate.relu_()")


def exponential(model: Any, x: Tensor) -> Tensor:
    return torch.exp(model.a(x))


class Refuses(torch.autograd.Function):
    """A function whose backward raises."""

    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        return x * 2

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        raise ValueError("no such thing")


def test_another_error_in_backward_names_the_function_and_the_module() -> None:
    def forward(model: Any, x: Tensor) -> Any:
        return model.out(Refuses.apply(model.a(x)))

    ((code, message, _),) = findings(net(forward, a=layer(), out=layer()), images())
    assert code == "FT011"
    assert message.startswith("the backward of Refuses in the model")
    assert message.endswith("raised ValueError: no such thing")


def test_a_backward_that_has_nothing_to_start_from_is_left_to_the_finding_about_gradients() -> None:
    def steps(model: nn.Module, x: Tensor) -> None:
        with torch.no_grad():
            output = model(x)
        output.sum().backward()

    assert [found[:2] for found in findings(net(exponential, a=layer()), images(), steps=steps)] == [
        ("FT008", "every parameter (20 parameters) got no gradient: the model ran under torch.no_grad()")
    ]


def test_an_error_outside_of_backward_is_none_of_it() -> None:
    def steps(model: nn.Module, x: Tensor) -> None:
        model(x).sum().backward()
        raise ValueError("later")

    assert findings(net(exponential, a=layer()), images(), steps=steps) == []
