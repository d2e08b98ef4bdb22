"""Models as people write them, each broken in one way, on a line that ends in `# here`."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class WrongFeatures(nn.Module):
    """A classifier sized for a smaller picture."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 16, 5), nn.ReLU(), nn.MaxPool2d(2))
        self.head = nn.Linear(16 * 5 * 5, 10)

    def forward(self, x: Tensor) -> Any:
        x = F.relu(self.features(x))
        x = torch.flatten(x, 1)
        return self.head(x)  # here


class WrongChannels(nn.Module):
    """A second convolution that was written for other channels than the first gives."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(16, 32, 3))

    def forward(self, x: Tensor) -> Any:
        return self.layers(x)  # here


class NotTransposed(nn.Module):
    """Attention by hand that forgot to transpose the keys."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Any:
        query, key = self.query(x), self.key(x)
        return query @ key  # here


class UnevenSkip(nn.Module):
    """A skip connection that joins what a strided convolution has rounded differently."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 8, 3, stride=2)
        self.up = nn.Upsample(scale_factor=2)

    def forward(self, x: Tensor) -> Any:
        y = self.up(self.down(x))
        return torch.cat([x, y], dim=1)  # here


class WrongView(nn.Module):
    """A view with the number of features written out, and wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 5)

    def forward(self, x: Tensor) -> Any:
        x = self.conv(x)
        return x.view(-1, 256)  # here


class WrongResidual(nn.Module):
    """A residual block whose branch changes the width."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(8, 9)

    def forward(self, x: Tensor) -> Any:
        y = torch.tanh(self.up(x))
        return x + y  # here


class WrongNorm(nn.Module):
    """A norm of other channels than its convolution gives, two modules down."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.ModuleDict({"conv": nn.Conv2d(3, 8, 3), "norm": nn.BatchNorm2d(16)})

    def forward(self, x: Tensor) -> Any:
        x = self.block["conv"](x)
        return self.block["norm"](x)  # here


class IndexOutside(nn.Module):
    """An embedding with fewer rows than the vocabulary."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(10, 4)

    def forward(self, ids: Tensor) -> Any:
        return self.tokens(ids + 10)  # here


class WrongDtype(nn.Module):
    """A layer that was given ids in place of what they stand for."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 2)

    def forward(self, ids: Tensor) -> Any:
        return self.head(ids)  # here


class HalfConverted(nn.Module):
    """A model of which one layer was converted to bfloat16."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4).bfloat16()

    def forward(self, x: Tensor) -> Any:
        x = self.first(x)
        return self.second(x)  # here


class OnTwoDevices(nn.Module):
    """A model of which one layer was left on the meta device."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4, device="meta")

    def forward(self, x: Tensor) -> Any:
        x = self.first(x)
        return self.second(x)  # here


class Decoder(nn.Module):
    """A module whose forward takes two tensors."""

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        return x + memory


class MissingArgument(nn.Module):
    """A decoder that is called without what the encoder gave."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(4, 4), Decoder()

    def forward(self, x: Tensor) -> Any:
        self.encoder(x)
        return self.decoder(x)  # here


class CallsAList(nn.Module):
    """A list of blocks that is called as if it were one."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))

    def forward(self, x: Tensor) -> Any:
        return self.blocks(x)  # here


class TakesATuple(nn.Module):
    """A head that is given all that the LSTM returns."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(4, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Any:
        x = self.lstm(x)
        return self.head(x)  # here


class WrongSequence(nn.Module):
    """A recurrent layer of another width than the embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.lstm = nn.Embedding(10, 6), nn.GRU(4, 8, batch_first=True)

    def forward(self, ids: Tensor) -> Any:
        x = self.tokens(ids)
        return self.lstm(x)  # here


class WrongMask(nn.Module):
    """A causal mask made for another length."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Any:
        mask = torch.ones(4, 4).triu(1).bool()
        return self.attention(x, x, x, attn_mask=mask)  # here


class FunctionalChannels(nn.Module):
    """A convolution by function with a weight of the model's own."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(6, 1, 3, 3))
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Any:
        x = F.conv2d(x, self.weight)  # here
        return self.act(x)


class TooSmall(nn.Module):
    """A stack of poolings that leaves nothing of a small picture."""

    def __init__(self) -> None:
        super().__init__()
        self.pools = nn.ModuleList(nn.MaxPool2d(4) for _ in range(3))

    def forward(self, x: Tensor) -> Any:
        for pool in self.pools:
            x = pool(x)  # here
        return x


class Wrapped(nn.Module):
    """A caller that makes an error of its own of what went wrong inside."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(4, 8), nn.Linear(9, 2))

    def forward(self, x: Tensor) -> Any:
        try:
            return self.encoder(x)  # here
        except RuntimeError as error:
            raise ValueError("the encoder does not take this") from error


class Retries(nn.Module):
    """A first try that fails and is caught, and a second that fails for good."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.narrow = nn.Linear(9, 2), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Any:
        try:
            return self.wide(x)
        except RuntimeError:
            y = x * 2
        return self.narrow(y)  # here
