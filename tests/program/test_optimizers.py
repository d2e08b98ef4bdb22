"""The steps of an optimizer tell which calls of a model train it, however many calls came before that did not."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fwdtrace.program.roots import QUIET
from fwdtrace.program.wanted import Wanted
from tests.program.test_watch import WHOLE, Net, X, told, watched


class Policy(Net):
    def evaluate(self, x: torch.Tensor) -> torch.Tensor:
        return self.encode(x)


@pytest.mark.parametrize("wanted", [Wanted(), Wanted(train=True)])
def test_training_by_another_way_is_found_after_many_calls_that_did_not_train(wanted: Wanted) -> None:
    with watched(wanted) as kept:
        policy = Policy()
        optimizer = torch.optim.SGD(policy.parameters(), lr=0.1)
        for _ in range(4):
            policy.eval()
            with torch.no_grad():
                for _ in range(QUIET + 3):
                    policy(X)
            policy.train()
            policy.evaluate(X).sum().backward()
            optimizer.step()
    assert told(kept)[-1] == ("Linear", 1, ["encoder"])
    assert kept[-1].trace.model.training and kept[-1].round == ("training", 1)


def test_a_model_that_no_call_trains_is_looked_at_again_once() -> None:
    with watched(Wanted()) as kept:
        net = Net().eval()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        for _ in range(QUIET + 1):
            net(X)
        classes = [Net.__call__]
        for _ in range(3):
            nn.functional.linear(X, net.encoder.weight).sum().backward()
            optimizer.step()
            classes.append(nn.Linear.__call__)
    assert told(kept) == [("Net", 1, WHOLE)]
    assert classes[1] is not nn.Module.__call__
    assert classes[2] is classes[3] is nn.Module.__call__
