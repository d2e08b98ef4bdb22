"""What is kept of a training step: the gradient of each output as autograd gives it, the parameters before, no hook."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fwdtrace.recorder.measures.keeper import digest_of
from fwdtrace.recorder.measures.training_keeper import SAMPLED, KeptValues, TrainingKeeper
from fwdtrace.recorder.recorded import Options
from fwdtrace.recorder.recording import Recording
from fwdtrace.trace import Trace

X = torch.arange(12.0).reshape(3, 4) / 12


class Net(nn.Module):
    """A layer whose output is used twice, and one that gives two tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.gru = nn.Linear(4, 4), nn.GRU(4, 2)
        self.register_buffer("count", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        z, h = self.gru(y)
        output: Tensor = y.sum() + z.pow(2).sum() + h.sum()
        return output


def kept_of(model: nn.Module, max_bytes: int = 2**20) -> tuple[Trace, KeptValues]:
    keeper = TrainingKeeper(max_bytes)
    keeper.keep_state(model)
    with Recording(model, Options(gradients=True, keeper=keeper)) as recording:
        model(X).backward()
        keeper.keep_gradients(model)
    return recording.trace, keeper.values


def test_the_gradient_of_each_output_is_the_whole_one() -> None:
    torch.manual_seed(0)
    model = Net()
    trace, values = kept_of(model)
    y = model.a(X).detach().requires_grad_()
    z, h = (each.detach().requires_grad_() for each in model.gru(y))
    z2, h2 = model.gru(y)
    expected_z, expected_h = torch.autograd.grad(z.pow(2).sum() + h.sum(), (z, h))
    expected_y = torch.autograd.grad(y.sum() + z2.pow(2).sum() + h2.sum(), y)[0]
    [first] = values.backward[trace.at("a")[0].id]
    assert first is not None and first.tensor is not None and torch.allclose(first.tensor, expected_y)
    of_gru = [each.tensor for each in values.backward[trace.at("gru")[0].id] if each is not None]
    assert len(of_gru) == 2 and torch.allclose(of_gru[1], expected_h)  # type: ignore[arg-type]
    assert torch.allclose(of_gru[0], expected_z)  # type: ignore[arg-type]


def test_parameters_and_buffers_have_a_digest_and_a_sample_and_gradients_are_whole() -> None:
    model = nn.Sequential(nn.Linear(4, 1500))
    with torch.no_grad():
        before = {name: digest_of(tensor) for name, tensor in model.state_dict().items()}
    _, values = kept_of(nn.Sequential(model, Sum()))
    assert {name.removeprefix("0."): held.kept.digest for name, held in values.state.items()} == before
    weight = values.state["0.0.weight"]
    assert weight.kept.tensor is None and weight.sample is not None and weight.sample.tensor is not None
    assert len(weight.sample.tensor) <= SAMPLED and weight.kept.shape == (1500, 4)
    gradient = values.gradients["0.0.weight"].kept.tensor
    assert gradient is not None and torch.equal(gradient, model[0].weight.grad)  # type: ignore[arg-type]


def test_beyond_the_bytes_only_digests_and_statistics_are_kept() -> None:
    _, values = kept_of(Net(), max_bytes=0)
    assert all(held.kept.tensor is None and held.kept.stats for held in values.gradients.values())
    assert all(kept is None or kept.tensor is None for each in values.backward.values() for kept in each)


def test_no_hook_is_left_in_the_graph() -> None:
    model = nn.Linear(4, 4)
    keeper = TrainingKeeper(2**20)
    with Recording(model, Options(gradients=True, keeper=keeper)):
        output = model(X)
    calls = len(keeper.values.backward)
    output.sum().backward()
    assert keeper.values.backward == {} and calls == 0


class Sum(nn.Module):
    """The sum of all."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sum()
