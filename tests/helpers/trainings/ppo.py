"""A policy that plays without gradients, with numbers drawn by Python and numpy, and learns from what it has played."""

from __future__ import annotations

import random

import numpy
import torch
from torch import Tensor, nn

from tests.helpers.trainings.common import arguments, report, steps


class Policy(nn.Module):
    """How likely each action is, and the value of the state."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(4, 16)
        self.choice = nn.Linear(16, 3)
        self.value = nn.Linear(16, 1)

    def forward(self, state: Tensor, alive: Tensor) -> tuple[Tensor, Tensor]:
        """Logarithms of probabilities, a little lower now and then, and values, 0 where the game is over."""
        h = self.body(state + 0.01 * torch.from_numpy(numpy.random.randn(*state.shape)).float()).tanh()
        probabilities = self.choice(h * state.abs().amax(1, keepdim=True)).softmax(-1)
        doubt = 0.1 * random.random() if random.random() < 0.5 else 0.0
        chances = (probabilities * (1 - doubt)).log()  # forward
        return chances, (self.value(h).squeeze(1).square() * alive).sqrt()  # backward


def main() -> None:
    """Play and learn."""
    options = arguments()
    policy = Policy()
    optimizer = torch.optim.Adam(policy.parameters(), lr=3e-4)
    for step, wrong in steps(options):
        state, alive, reward = torch.randn(8, 4), torch.ones(8), torch.randn(8)
        if wrong == "forward":
            state[1] *= 1e5
        if wrong == "backward":
            alive[1] = 0
        random.seed(step)
        with torch.no_grad():
            chances, value = policy(state, alive)
            action = chances.nan_to_num(neginf=-1e9).argmax(1)
            before = chances.gather(1, action[:, None]).squeeze(1)
        for _ in range(2):
            chances, value = policy(state, alive)
            ratio = (chances.gather(1, action[:, None]).squeeze(1) - before).exp()
            advantage = (reward - value).detach()
            clipped = ratio.clamp(0.8, 1.2) * advantage
            loss = -torch.minimum(ratio * advantage, clipped).mean() + nn.functional.mse_loss(value, reward)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        report(step, loss, policy)


if __name__ == "__main__":
    main()
