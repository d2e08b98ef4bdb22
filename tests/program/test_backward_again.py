"""A backward that ended a program is explained by a call like one that was kept; its arguments are made anew."""

from __future__ import annotations

import linecache
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fwdtrace
from fwdtrace.program.backward_again import explained_backward
from fwdtrace.trace import Trace

X = torch.ones(2, 4)


class Gate(nn.Module):
    """Writes into what the backward of tanh needs, and counts its calls in a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor, *rest: Any, **options: Any) -> Any:
        self.calls += 1
        gate = torch.tanh(self.fc(x))
        gate.mul_(2)
        return gate


class Reads(Gate):
    """Takes its tensor out of a dictionary in a list, a table of rows, a flag, and what it only gets by name."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = nn.Embedding(3, 4)

    def forward(self, batch: Any, ids: Any = None, flag: bool = True, *, scale: Any = None) -> Any:  # type: ignore[override]
        assert flag is False and scale == 2.0 and ids.dtype == torch.int64
        return {"out": super().forward(batch[1]["x"] + self.rows(ids)), "number": 3}


class Innocent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Any:
        return self.fc(x)


def kept_and_error(model: nn.Module, *args: Any, after: Callable[[Any], Tensor], **kwargs: Any) -> tuple[Trace, Any]:
    """The trace of a first call, and what the backward of a second one raises."""
    with fwdtrace.record(model, ops=True) as recording:
        model(*args, **kwargs)
    with pytest.raises(Exception) as raised:
        after(model(*args, **kwargs)).backward()  # type: ignore[no-untyped-call]
    return recording.trace, raised.value


WROTE = (
    "Tensor.mul_ in the model wrote into the output of torch.tanh in the model (line {}), which the backward of"
    " torch.tanh needs as it was"
)
LINE = Gate.forward.__code__.co_firstlineno + 2


@pytest.mark.parametrize(
    ("model", "args", "kwargs"),
    [
        (Gate(), (X,), {}),
        (Gate(), (X, X, (1, X)), {"more": {"a": X}}),
        (Gate(), (X.clone().requires_grad_(),), {}),
        (Reads(), ([None, {"x": X}], torch.tensor([2, 0]), False), {"scale": 2.0}),
    ],
    ids=["one", "any-number", "with-gradient", "nested"],
)
def test_the_op_that_wrote_is_named_with_its_line(model: Any, args: Any, kwargs: Any) -> None:
    trace, error = kept_and_error(
        model, *args, after=lambda y: (y["out"] if isinstance(y, dict) else y).mean(), **kwargs
    )
    found = explained_backward(error, [(trace, model)])
    assert found is not None
    ((message, site),) = [(each.message, each.site) for each in found.findings if each.code == "FT011"]
    assert message == WROTE.format(LINE)
    assert site is not None and site.code == "gate.mul_(2)"
    assert (found.run.event, found.run.replay, found.run.call) == ("error", "inexact", None)


def test_the_model_and_the_random_numbers_stay_as_they_are() -> None:
    model = Gate()
    trace, error = kept_and_error(model, X, after=Tensor.sum)
    state, numbers = {name: each.clone() for name, each in model.state_dict().items()}, torch.get_rng_state()
    assert explained_backward(error, [(trace, model)]) is not None
    assert all(torch.equal(each, state[name]) for name, each in model.state_dict().items())
    assert torch.equal(numbers, torch.get_rng_state())
    assert model.fc.weight.grad is None


def test_a_model_whose_backward_does_not_raise_this_is_not_blamed() -> None:
    guilty, innocent = Gate(), Innocent()

    def write(y: Tensor) -> Tensor:
        out = torch.sigmoid(y)
        out += 1
        return out.sum()

    trace, error = kept_and_error(innocent, X, after=write)
    assert explained_backward(error, [(trace, innocent)]) is None
    other, _ = kept_and_error(guilty, X, after=Tensor.sum)
    assert explained_backward(error, [(trace, innocent), (other, guilty)]) is None


def test_a_graph_that_is_used_twice_is_not_explained_by_one_call() -> None:
    model = Innocent()

    def twice(y: Tensor) -> Tensor:
        loss = y.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    trace, error = kept_and_error(model, X, after=twice)
    assert explained_backward(error, [(trace, model)]) is None


def test_arguments_that_are_objects_are_not_made() -> None:
    model = Gate()
    trace, error = kept_and_error(model, X, object(), after=Tensor.sum)
    assert explained_backward(error, [(trace, model)]) is None


def test_a_call_without_gradients_is_no_example() -> None:
    model = Gate()
    with torch.no_grad(), fwdtrace.record(model, ops=True) as recording:
        model(X)
    _, error = kept_and_error(model, X, after=Tensor.sum)
    assert explained_backward(error, [(recording.trace, model)]) is None


STEPS = {
    "a write outside the model": (
        """
for _ in range(2):
    y = net(torch.randn(4, 8))
    y[:, 0] = 0
    loss = y.sum()
    loss.backward()
""",
        "[]= wrote into the output of torch.sigmoid in net (line 12), which the backward of torch.sigmoid needs as it"
        " was",
        "y[:, 0] = 0",
    ),
    "a state that is carried over": (
        """
h = None
for number in range(3):
    y, h = cell(torch.randn(4, 8), h)
    loss = y.square().mean()
    optimizer.zero_grad()
    loss.backward()
    print(loss.item())
""",
        "backward came a second time to rnn (line 21), whose graph the backward in line 34 freed: it came back through"
        " `h` of the model #2, which the model gave with its graph; pass `h.detach()` in its place (not tried)",
        "h = self.rnn(x, h)",
    ),
    "a loss that is added up": (
        """
total = 0
for x in torch.randn(3, 4, 8):
    total = total + net(x).exp().mean()
    total.backward()
""",
        "backward came a second time to Tensor.exp (line 31), whose graph the backward in line 32 freed: it came back"
        " through + in line 31",
        "total = total + net(x).exp().mean()",
    ),
    "a step between forward and backward": (
        """
y = net(net(torch.randn(4, 8)))
for target in (0.0, 1.0):
    loss = ((y - target) ** 2).mean()
    loss.backward(retain_graph=True)
    optimizer.step()
""",
        "the step of the optimizer wrote into net.fc.weight, which the backward of net.fc #2 (line 11) needs as it was",
        "optimizer.step()",
    ),
    "one model's output given to another twice": (
        """
fake = net(torch.randn(4, 8))
first = judge(fake).mean()
first.backward()
second = judge(fake).mean()
second.backward()
""",
        "backward came a second time to torch.sigmoid in net (line 12), whose graph the backward in line 31 freed: it"
        " came back through judge in line 32",
        "return torch.sigmoid(x)",
    ),
    "weights that are clipped too early": (
        """
y = net(net(torch.randn(4, 8)))
with torch.no_grad():
    for parameter in net.parameters():
        parameter.clamp_(-0.01, 0.01)
y.mean().backward()
""",
        "Tensor.clamp_ wrote into net.fc.weight, which the backward of net.fc #2 (line 11) needs as it was",
        "parameter.clamp_(-0.01, 0.01)",
    ),
    "a state that the model keeps": (
        """
cell.state = torch.zeros(4, 8)


def step(x):
    y, cell.state = cell(x, cell.state)
    y.square().mean().backward()


for x in torch.randn(3, 4, 8):
    step(x)
""",
        "backward came a second time to rnn (line 21), whose graph the backward in line 34 freed: it came back through"
        " `h` of the model #2, which the model gave with its graph; pass `h.detach()` in its place (not tried)",
        "h = self.rnn(x, h)",
    ),
    "a loss of whole numbers": (
        """
target = torch.ones(4)
guess = net(torch.randn(4, 8)).argmax(1).float()
nn.functional.mse_loss(guess, target).backward()
""",
        "every parameter (72 parameters) got no gradient: Tensor.argmax gives integers, which have no gradient",
        "guess = net(torch.randn(4, 8)).argmax(1).float()",
    ),
}  # fmt: skip
"""What a program does after its models are built, what is said of it, and the line that is named."""

PROGRAM = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(8, 8)

    def forward(self, x):
        x = self.fc(x)
        return torch.sigmoid(x)


class Cell(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.GRUCell(8, 8)

    def forward(self, x, h):
        h = self.rnn(x, h)
        return h, h


torch.manual_seed(0)
net, cell, judge = Net(), Cell(), nn.Sequential(nn.Linear(8, 2))
optimizer = torch.optim.Adam([*net.parameters(), *cell.parameters()], 0.1)
"""


def ended(tmp_path: Path, steps: str) -> tuple[dict[str, Any], Exception]:
    """The names of a program, and the error that ended it."""
    file = tmp_path / "steps.py"
    file.write_text(PROGRAM.strip() + "\n" + steps, encoding="utf-8")
    linecache.checkcache(str(file))
    names: dict[str, Any] = {"__name__": "__main__"}
    with pytest.raises(RuntimeError) as raised:
        exec(compile(file.read_text(encoding="utf-8"), file, "exec"), names)
    return names, raised.value


@pytest.mark.parametrize("kind", STEPS)
def test_what_a_program_does_between_its_calls_is_named_with_its_line(kind: str, tmp_path: Path) -> None:
    steps, says, code = STEPS[kind]
    _, error = ended(tmp_path, steps)
    found = explained_backward(error, [])
    assert found is not None
    ((message, site),) = [(each.message, each.site) for each in found.findings]
    assert site is not None and (message, site.code) == (says, code)


def test_nothing_of_the_program_changes_and_only_what_computes_runs_again(tmp_path: Path) -> None:
    steps, log = STEPS["a step between forward and backward"][0], tmp_path / "log"
    names, error = ended(tmp_path, steps.replace("    optimizer", f"    torch.save(y, {str(log)!r})\n    optimizer"))
    log.unlink()
    net = names["net"]
    state = {name: each.clone() for name, each in net.state_dict().items()}
    gradients = [id(each.grad) for each in net.parameters()]
    optimizer, numbers = str(names["optimizer"].state_dict()), torch.get_rng_state()
    assert explained_backward(error, []) is not None
    assert all(torch.equal(each, state[name]) for name, each in net.state_dict().items())
    assert [id(each.grad) for each in net.parameters()] == gradients
    assert str(names["optimizer"].state_dict()) == optimizer
    assert torch.equal(numbers, torch.get_rng_state())
    assert not log.exists()


def test_a_graph_that_is_not_of_what_runs_again_is_not_explained(tmp_path: Path) -> None:
    steps = "y = net(torch.randn(4, 8)).sum()\n\n\ndef step(x):\n    (net(x).sum() * y).backward()\n\n\n"
    _, error = ended(tmp_path, steps + "for _ in range(2):\n    step(torch.randn(4, 8))\n")
    assert explained_backward(error, []) is None


def test_a_part_that_calls_no_model_is_not_run_again(tmp_path: Path) -> None:
    _, error = ended(tmp_path, "w = torch.ones(2, requires_grad=True).exp()\nw.sum().backward()\nw.sum().backward()\n")
    assert explained_backward(error, []) is None
