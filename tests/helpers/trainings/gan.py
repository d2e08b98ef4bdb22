"""Two models and two optimizers: a generator, and a discriminator that is called several times a step."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tests.helpers.trainings.common import arguments, report, steps


class Generator(nn.Module):
    """Noise in, points out."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))

    def forward(self, examples: int) -> Tensor:
        """The noise is drawn here."""
        return self.layers(torch.randn(examples, 4))  # type: ignore[no-any-return]


class Discriminator(nn.Module):
    """The logarithms of how likely a point is true, and how likely it is not."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(2, 16)
        self.last = nn.Linear(32, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Each point is judged with the deviation of all of them."""
        h = self.first(x).tanh()
        spread = h.var(0).sqrt()  # backward
        p = self.last(torch.cat([h + x.sum(1, keepdim=True), spread.expand_as(h)], 1)).sigmoid()
        return torch.cat([p, 1 - p], 1).log()  # forward


def main() -> None:
    """Train them in turn."""
    options = arguments()
    generator, discriminator = Generator(), Discriminator()
    optimizers = [torch.optim.Adam(each.parameters(), lr=1e-3) for each in (generator, discriminator)]
    for step, wrong in steps(options):
        true = torch.randn(8, 2)
        if wrong == "forward":
            true *= 1e4
        if wrong == "backward":
            true[:] = true[0].clone()
        loss = -discriminator(true)[:, 0].mean() - discriminator(generator(8).detach())[:, 1].mean()
        optimizers[1].zero_grad()
        loss.backward()
        optimizers[1].step()
        loss_of_generator = -discriminator(generator(8))[:, 0].mean()
        optimizers[0].zero_grad()
        loss_of_generator.backward()
        optimizers[0].step()
        report(step, loss + loss_of_generator, generator, discriminator)


if __name__ == "__main__":
    main()
