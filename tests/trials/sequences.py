"""Broken models of sequences: attention and recurrence that were built or called for another order or size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class HidesKeys(nn.Module):
    """Attention to examples that are first, as in its padding mask, by a layer that was not built for that."""

    def __init__(self) -> None:
        super().__init__()
        self.mha = nn.MultiheadAttention(8, 2)

    def forward(self, x: Tensor) -> Any:
        mask = torch.zeros(x.shape[0], x.shape[1], dtype=torch.bool)
        return self.mha(x, x, x, key_padding_mask=mask)[0]


class AttendsToWider(nn.Module):
    """Keys and values of more features than the queries."""

    def __init__(self) -> None:
        super().__init__()
        self.cross = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor, others: Tensor) -> Any:
        return x + self.cross(x, others, others)[0]


class TurnsForRecurrence(nn.Module):
    """Features before steps, and a layer whose result is no tensor that could be turned back."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.out = nn.LSTM(6, 4, batch_first=True), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Any:
        return self.out(self.rnn(x)[0][:, -1])


class AttendsToOthers(nn.Module):
    """A decoder layer, whose memory is of another number of examples."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerDecoderLayer(16, 4, 32, batch_first=True)

    def forward(self, x: Tensor, memory: Tensor) -> Any:
        return self.layer(x, memory)


class SequenceFirst(nn.Module):
    """A recurrent layer without `batch_first`, and a state that has the batch first in mind."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(4, 6)

    def forward(self, x: Tensor) -> Any:
        return self.gru(x, torch.zeros(1, x.shape[0], 6))[0]


class MasksKeys(nn.Module):
    """A mask of examples and keys, which lacks the dimension of the queries."""

    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Linear(8, 8)

    def forward(self, x: Tensor, mask: Tensor) -> Any:
        query = self.query(x)
        scores = (query @ query.transpose(-2, -1)).masked_fill(mask.bool(), -1e9)
        return scores.softmax(-1) @ query


class ViewsKeysLikeQueries(nn.Module):
    """Keys and values of another length than the queries, viewed with the length of these."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: Tensor, others: Tensor) -> Any:
        examples, length, _ = x.shape
        query = self.query(x).view(examples, length, 2, -1).transpose(1, 2)
        key = self.key(others).view(examples, length, 2, -1).transpose(1, 2)
        value = self.value(others).view(examples, length, 2, -1).transpose(1, 2)
        return (query @ key.mT).softmax(-1) @ value


class GathersOne(nn.Module):
    """The score of one class for each example, with an index that has no dimension for the classes."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 3)

    def forward(self, x: Tensor, actions: Tensor) -> Any:
        return self.fc(x).gather(1, actions)


class Returned(NamedTuple):
    """The features of a backbone, and what is beside them."""

    features: Tensor
    pooled: Tensor


def by_name(features: Tensor, pooled: Tensor) -> dict[str, Tensor]:
    """The same as a dictionary."""
    return {"features": features, "pooled": pooled}


class TakesAnObject(nn.Module):
    """A head that is given the object that a backbone returns; two fields, or items, are tensors."""

    def __init__(self, kind: Callable[[Tensor, Tensor], Any] = Returned) -> None:
        super().__init__()
        self.kind, self.fc, self.head = kind, nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Any:
        x = self.fc(x)
        return self.head(self.kind(x, x.mean(1)))


class PositionsFromTwo(nn.Embedding):
    """Positions of which the first two rows are for something else."""

    def forward(self, length: int, positions: Tensor) -> Tensor:
        return super().forward(positions + 2)


class AddsPositionsFromTwo(nn.Module):
    """A text that is longer than its table of positions, less the two rows that are for something else."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(50, 4), PositionsFromTwo(10, 4)

    def forward(self, ids: Tensor) -> Any:
        places = torch.arange(ids.shape[1]).expand(ids.shape)
        return self.tokens(ids) + self.positions(ids.shape[1], places)


class LooksUpPositions(nn.Module):
    """Positions that begin at 2, in a buffer of 12."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(20, 4)
        self.register_buffer("kinds", torch.zeros(1, 12, dtype=torch.long))

    def forward(self, ids: Tensor) -> Any:
        positions = torch.arange(2, 2 + ids.shape[1]).expand(ids.shape)
        return self.table(ids) + self.table(torch.gather(self.kinds.expand(ids.shape[0], -1), 1, positions))


class ScoresWithNarrowKeys(nn.Module):
    """Queries and keys of attention that were built with different numbers of features."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key = nn.Linear(5, 8), nn.Linear(5, 6)

    def forward(self, x: Tensor) -> Any:
        return torch.softmax(self.query(x) @ self.key(x).transpose(1, 2), -1) @ x


class BeginsForOneLayer(nn.Module):
    """The states that two recurrent layers begin with, made for one."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.out = nn.LSTM(8, 16, num_layers=2, batch_first=True), nn.Linear(16, 2)

    def forward(self, x: Tensor) -> Any:
        first = torch.zeros(1, x.shape[0], 16)
        return self.out(self.lstm(x, (first, first.clone()))[0][:, -1])


class FiveHeads(nn.Module):
    """An attention whose heads were changed after it was built, to a number that does not divide its features."""

    def __init__(self) -> None:
        super().__init__()
        self.mha = nn.MultiheadAttention(32, 4, batch_first=True)
        self.mha.num_heads = 5

    def forward(self, x: Tensor) -> Any:
        return self.mha(x, x, x)[0]
