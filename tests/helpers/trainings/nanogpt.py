"""A small GPT with dropout, in float32, under autocast to bfloat16, or to float16 with a GradScaler."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tests.helpers.trainings.common import arguments, report, steps

CHANNELS, TOKENS = 16, 8


class Block(nn.Module):
    """Causal attention of one head, and a feed-forward layer."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(CHANNELS)
        self.qkv = nn.Linear(CHANNELS, 3 * CHANNELS)
        self.up = nn.Linear(CHANNELS, CHANNELS)
        self.drop = nn.Dropout(0.1)

    def forward(self, x: Tensor, hidden: Tensor, gain: Tensor) -> Tensor:
        """`hidden` has the tokens that are padding; the feed-forward layer is given `gain` times its input."""
        q, k, v = self.qkv(self.norm(x)).chunk(3, -1)
        later = torch.ones(TOKENS, TOKENS, dtype=torch.bool).triu(1)
        scores = (q @ k.transpose(1, 2)).masked_fill(later | hidden[:, None, :], -torch.inf)
        weights = scores.softmax(-1)  # forward
        x = x + self.drop(weights @ v)
        x = x + self.up(x * gain).relu() / gain  # overflow
        scale = (x * ~hidden[:, :, None]).square().mean(-1, keepdim=True).sqrt()  # backward
        return x / (scale + 0.1)


class GPT(nn.Module):
    """Tokens in, a score for each token that may come next out."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(32, CHANNELS)
        self.blocks = nn.ModuleList(Block() for _ in range(2))

    def forward(self, tokens: Tensor, hidden: Tensor, gain: Tensor) -> Tensor:
        """The weights of the embedding give the scores, too."""
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x, hidden, gain)
        return x @ self.embedding.weight.T


def main() -> None:
    """Train it; what goes wrong in forward is an overflow where there is a scaler, and an example of padding alone."""
    options = arguments(dtype="float32")
    dtype = getattr(torch, options.dtype)
    model = GPT()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    scaler = torch.amp.GradScaler("cpu", enabled=dtype is torch.float16)
    for step, wrong in steps(options):
        tokens, hidden = torch.randint(0, 32, (4, TOKENS + 1)), torch.zeros(4, TOKENS, dtype=torch.bool)
        gain = torch.ones(())
        if wrong == "forward" and dtype is torch.float16:
            gain.fill_(1e6)
        elif wrong == "forward":
            hidden[1] = True
        elif wrong:
            hidden[1, -1] = True
        with torch.autocast("cpu", dtype, enabled=dtype is not torch.float32):
            scores = model(tokens[:, :-1], hidden, gain)
            loss = nn.functional.cross_entropy(scores.flatten(0, 1).float(), tokens[:, 1:].flatten())
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        report(step, loss, model)


if __name__ == "__main__":
    main()
