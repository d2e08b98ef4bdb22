"""What goes wrong between a model's output and backward is blamed on the line that made it, not on the call."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fwdtrace.program.saved_step import StepToSave
from tests.program.test_events import Pair, batches, told, watched


def divergence(mean: Tensor, spread: Tensor, factor: float) -> Tensor:
    return -0.5 * (1 + spread - mean.square() - torch.exp(spread * factor)).mean()


def test_what_goes_wrong_in_the_loss_is_named_with_its_line() -> None:
    def fit(net: nn.Module, optimizer: Any, x: Tensor, factor: float) -> None:
        result, mean, spread = net(x)
        loss = nn.functional.mse_loss(result, x)
        loss = loss + divergence(mean, spread.abs() + 1, factor)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    with watched() as events:
        net = Pair()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
        for step, x in enumerate(batches(6), 1):
            fit(net, optimizer, x, 1e4 if step == 4 else 0.5)
    line = "return -0.5 * (1 + spread - mean.square() - torch.exp(spread * factor)).mean()"
    assert [told(event) for event in events] == [(4, 4, "exact", [line])]
    message = next(finding.message for finding in events[0].findings if finding.code == "FT005")
    assert message.startswith("torch.exp in the loss made")


def test_what_goes_wrong_in_the_backward_of_the_loss_is_named_with_its_line() -> None:
    with watched() as events:
        net = nn.Linear(4, 1)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        for factor in (1.0, 0.0):
            optimizer.zero_grad()
            squares = net(torch.ones(2, 4)).square() * factor
            torch.sqrt(squares).sum().backward()
            optimizer.step()
    assert [told(event) for event in events] == [(2, 2, "inexact", ["torch.sqrt(squares).sum().backward()"])]


def test_what_goes_wrong_in_a_penalty_on_gradients_is_named_though_it_is_in_a_closure() -> None:
    with watched() as events:
        net = nn.Linear(4, 1)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        for factor in (1.0, 0.0):
            x = torch.ones(2, 4, requires_grad=True)

            def closure(x: Tensor = x, factor: float = factor) -> Tensor:
                optimizer.zero_grad()
                output = net(x).square()
                (slope,) = torch.autograd.grad(output.sum(), x, create_graph=True)
                loss = (output * (slope.square().sum() * factor).sqrt()).sum()
                loss.backward()  # type: ignore[no-untyped-call]
                return loss

            optimizer.step(closure)  # type: ignore[arg-type]
    line = "loss = (output * (slope.square().sum() * factor).sqrt()).sum()"
    assert [told(event) for event in events] == [(2, 2, "exact", [line])]


def test_of_a_loss_that_is_not_found_it_is_said_that_it_made_the_gradient_wrong() -> None:
    def loss_of(net: nn.Module) -> Tensor:
        return torch.sqrt(net(torch.ones(2, 4)).square() * 0).sum()

    def step(losses: list[Tensor]) -> None:
        losses.pop().backward()  # type: ignore[no-untyped-call]

    with watched() as events:
        net = nn.Linear(4, 1)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        losses = [loss_of(net)]
        step(losses)
        optimizer.step()
    ((finding,),) = [[each for each in event.findings if each.code == "FT005"] for event in events]
    assert finding.message.startswith("the gradient that came to the model (Linear) was not finite already")


def test_what_is_wrong_with_a_penalty_is_not_blamed_on_the_call_though_it_is_not_found() -> None:
    def penalized(net: nn.Linear, factor: float) -> None:
        (net(torch.ones(2, 4)).sum() + torch.sqrt(net.bias.square() * factor).sum()).backward()

    with watched() as events:
        net = nn.Linear(4, 1)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        for factor in (1.0, 0.0):
            optimizer.zero_grad()
            penalized(net, factor)
            optimizer.step()
    ((finding,),) = [[each for each in event.findings if each.code == "FT005"] for event in events]
    assert "something beside it made them so" in finding.message


def test_the_loss_of_an_earlier_small_batch_is_run_again_with_what_its_names_were() -> None:
    with watched() as events:
        net = nn.Linear(4, 1)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        for factor in (0.0, 1.0):
            loss = torch.sqrt(net(torch.ones(2, 4)).square() * factor).sum()
            loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    line = "loss = torch.sqrt(net(torch.ones(2, 4)).square() * factor).sum()"
    assert [told(event) for event in events] == [(1, 1, "exact", [line])]


def test_the_loss_is_named_for_which_a_scaler_leaves_out_all_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[bool] = []
    monkeypatch.setattr(StepToSave, "save", lambda _, noted, optimizer, wrong, of_loss, gone: saved.append(of_loss))
    with watched() as events:
        net = nn.Linear(4, 1)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        scaler = torch.amp.GradScaler("cpu")
        for _ in range(14):
            optimizer.zero_grad()
            loss = torch.sqrt(net(torch.ones(2, 4)).square() * 0).sum()
            scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            scaler.step(optimizer)
            scaler.update()
    line = "loss = torch.sqrt(net(torch.ones(2, 4)).square() * 0).sum()"
    assert [(event.run.replay, told(event)[3]) for event in events] == [("exact", [line])]
    assert saved == [True]  # the step is said to be saved without the loss
