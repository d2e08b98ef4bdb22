"""A variational autoencoder, whose forward draws random numbers and returns several tensors."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tests.helpers.trainings.common import arguments, report, steps


class VAE(nn.Module):
    """Pictures as points, and the angle that each point is decoded from."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 8))
        self.decoder = nn.Linear(4, 12)

    def forward(self, x: Tensor, sharpness: Tensor, spread: Tensor) -> dict[str, Tensor]:
        """The picture anew, and how far the distribution of the points is from a normal one."""
        mean, log_variance = self.encoder(x).chunk(2, -1)
        deviation = torch.exp(0.5 * log_variance + spread)  # forward
        point = mean + deviation * torch.randn_like(mean)
        angle = torch.acos(torch.tanh(point * sharpness))  # backward
        kl = -0.5 * (1 + log_variance - mean.square() - deviation.square()).sum(-1)
        return {"picture": self.decoder(angle), "kl": kl}


def main() -> None:
    """Train it."""
    options = arguments()
    model = VAE()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for step, wrong in steps(options):
        x, sharpness, spread = torch.rand(8, 12), torch.ones(()), torch.zeros(())
        if wrong == "forward":
            spread += 200
        if wrong == "backward":
            sharpness *= 1e4
        output = model(x, sharpness=sharpness, spread=spread)
        loss = nn.functional.mse_loss(output["picture"], x) + 0.01 * output["kl"].mean()
        optimizer.zero_grad(set_to_none=False)
        loss.backward()
        optimizer.step()
        report(step, loss, model)


if __name__ == "__main__":
    main()
