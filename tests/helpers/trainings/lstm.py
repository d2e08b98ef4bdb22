"""A bidirectional LSTM with dropout over sequences of several lengths."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tests.helpers.trainings.common import arguments, report, steps


class Reader(nn.Module):
    """The mean of the states of a sequence, and how strong they are."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(6, 8, num_layers=2, dropout=0.3, bidirectional=True, batch_first=True)
        self.head = nn.Linear(17, 1)

    def forward(self, x: Tensor, lengths: Tensor, weights: Tensor) -> Tensor:
        """`weights` says how much each step of a sequence counts."""
        states, _ = self.lstm(x)
        seen = torch.arange(x.shape[1]) < lengths[:, None]
        mean = (states * seen[:, :, None]).sum(1) / lengths[:, None]  # forward
        strength = (states * weights[:, :, None]).abs().sum((1, 2)) ** 0.5  # backward
        return self.head(torch.cat([mean, strength[:, None]], 1)).squeeze(1)  # type: ignore[no-any-return]


def main() -> None:
    """Train it."""
    options = arguments()
    model = Reader()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for step, wrong in steps(options):
        x, y = torch.randn(4, 5, 6), torch.randn(4)
        lengths, weights = torch.randint(1, 6, (4,)), torch.rand(4, 5) + 0.1
        if wrong == "forward":
            lengths[2] = 0
        if wrong == "backward":
            weights[2] = 0
        loss = nn.functional.mse_loss(model(x, lengths, weights), y)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        report(step, loss, model)


if __name__ == "__main__":
    main()
