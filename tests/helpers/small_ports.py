"""Small models and ports of them in other words, right as they are and wrong with one bug on a line marked with it."""

from __future__ import annotations

import warnings
from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTH, TOKENS = 16, 40


class Block(nn.Module):
    """A residual block with a learned scale, as of a vision transformer."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.fc = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH)
        self.ls1, self.ls2 = Scale(), Scale()

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.ls1(self.fc(self.norm(x).cumsum(1)))
        return x + self.ls2(x.tanh())  # type: ignore[no-any-return]


class Scale(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class Scaled(nn.Module):
    """Three kinds of embedding, of which one is the same for every example, and two blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.word, self.kind, self.place = (nn.Embedding(size, WIDTH) for size in (TOKENS, 2, 12))
        self.start = nn.Parameter(torch.randn(1, 1, WIDTH))
        self.blocks = nn.Sequential(Block(), Block())

    def forward(self, ids: Tensor) -> Tensor:
        x = self.word(ids) + self.kind(torch.zeros_like(ids))
        x = x + self.place(torch.arange(ids.shape[1]).expand_as(ids))
        return self.blocks(torch.cat([self.start.expand(len(ids), -1, -1), x], 1))[:, -1]  # type: ignore[no-any-return]


class BareBlock(nn.Module):
    def __init__(self, bug: str) -> None:
        super().__init__()
        self.bug = bug
        self.ln, self.lin = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH)
        self.g1, self.g2 = nn.Parameter(torch.ones(WIDTH)), nn.Parameter(torch.ones(WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.lin(self.ln(x).cumsum(1)) * self.g1
        h = x.tanh()
        return x + h * (self.g1 if self.bug == "scale" else self.g2)  # scale


class Bare(nn.Module):
    """`Scaled` with the scales as parameters of the block, and its sum in another order."""

    def __init__(self, bug: str = "") -> None:
        super().__init__()
        self.bug = bug
        self.table, self.pos, self.seg = (nn.Embedding(size, WIDTH) for size in (TOKENS, 12, 2))
        self.first = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.layers = nn.ModuleList([BareBlock(bug), BareBlock("")])

    def forward(self, ids: Tensor) -> Tensor:
        kinds = torch.ones_like(ids) if self.bug == "kind" else torch.zeros_like(ids)  # kind
        x = self.table(ids) + self.pos(torch.arange(ids.shape[1])) + self.seg(kinds)
        x = torch.cat([self.first.expand(len(ids), -1, -1), x], 1)
        for layer in self.layers:
            x = layer(x)
        if self.bug == "half":
            x = x.half().float()  # half
        return x.mean(1) if self.bug == "mean" else x[:, -1]  # mean


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(WIDTH, 12, bidirectional=True, batch_first=True)
        self.parts = nn.Linear(24, 2 + 4 + 4)

    def forward(self, x: Tensor) -> Tensor:
        a, b, c = self.parts(self.rnn(x)[0]).split([2, 4, 4], -1)
        b, c = (each.repeat_interleave(2, 1) for each in (b, c))
        return torch.cat([a.mean(1), (b * c.sigmoid()).mean(1)], -1)


class Cells(nn.Module):
    """`Recurrent` with a loop over the places, and three matrices in place of one."""

    def __init__(self, bug: str = "") -> None:
        super().__init__()
        self.bug = bug
        self.cells = nn.ModuleList([nn.GRUCell(WIDTH, 12), nn.GRUCell(WIDTH, 12)])
        self.a, self.b, self.c = (nn.Linear(24, size) for size in (2, 4, 4))

    def step(self, cell: nn.Module, x: Tensor, h: Tensor) -> Tensor:
        given = functional.linear(x, cell.weight_ih, cell.bias_ih).chunk(3, -1)  # type: ignore[arg-type]
        held = functional.linear(h, cell.weight_hh, cell.bias_hh).chunk(3, -1)  # type: ignore[arg-type]
        r, z = ((given[n] + held[n]).sigmoid() for n in range(2))
        n = (given[2] + (held[2] if self.bug == "reset" else r * held[2])).tanh()  # reset
        return n + z * (h - n)

    def forward(self, x: Tensor) -> Tensor:
        sides = []
        for cell, places in zip(self.cells, (range(x.shape[1]), range(x.shape[1])[::-1]), strict=True):
            h, found = x.new_zeros(len(x), 12), {}
            for place in places:
                found[place] = h = self.step(cell, x[:, place], h)
            sides.append(torch.stack([found[place] for place in sorted(found)], 1))
        x = torch.cat(sides, -1)
        a, b, c = self.a(x), self.b(x), self.c(x)
        b = b.repeat(1, 2, 1) if self.bug == "repeat" else b.repeat_interleave(2, 1)  # repeat
        return torch.cat([a.mean(1), (b * c.repeat_interleave(2, 1).sigmoid()).mean(1)], -1)


class Clipped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, WIDTH, 3), nn.BatchNorm2d(WIDTH), nn.ReLU6(), nn.Conv2d(WIDTH, 4, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)  # type: ignore[no-any-return]


class Clips(nn.Module):
    def __init__(self, bug: str = "") -> None:
        super().__init__()
        self.bug = bug
        self.conv, self.bn, self.last = nn.Conv2d(3, WIDTH, 3), nn.BatchNorm2d(WIDTH), nn.Linear(WIDTH, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(self.conv(x))
        x = functional.relu(x) if self.bug == "clip" else functional.relu6(x)  # clip
        return self.last(x.movedim(1, -1)).movedim(-1, 1)  # type: ignore[no-any-return]


class Attention(nn.Module):
    """One model that computes the same in two ways."""

    def __init__(self, way: str = "at once", bug: str = "") -> None:
        super().__init__()
        self.way, self.bug = way, bug
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        if self.way == "at once":
            return self.out(functional.scaled_dot_product_attention(q, k, v))  # type: ignore[no-any-return]
        weights = q @ k.mT / (3 if self.bug == "divisor" else 4)  # divisor
        return self.out(weights.softmax(-1) @ v)  # type: ignore[no-any-return]


class Normed(nn.Module):
    """Convolutions whose weights are stored as norms and directions, in both forms that torch has, and patches."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.utils.parametrizations.weight_norm(nn.Conv1d(4, 8, 3), dim=2)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            self.two = nn.utils.weight_norm(nn.Conv1d(8, 4, 3))  # type: ignore[no-untyped-call]
        self.patches = nn.Conv1d(4, WIDTH, 2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.patches(self.two(self.one(x).tanh())).mT  # type: ignore[no-any-return]


class Straight(nn.Module):
    """`Normed` with its weights as they are."""

    def __init__(self) -> None:
        super().__init__()
        self.start, self.end, self.cut = nn.Conv1d(4, 8, 3), nn.Conv1d(8, 4, 3), nn.Conv1d(4, WIDTH, 2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.cut(self.end(torch.tanh(self.start(x)))).transpose(1, 2)  # type: ignore[no-any-return]


class Plain(nn.Module):
    """`Normed` with the weights as they are, and the patches times a matrix that no module holds."""

    def __init__(self, bug: str = "") -> None:
        super().__init__()
        self.bug = bug
        self.first, self.second = nn.Conv1d(4, 8, 3), nn.Conv1d(8, 4, 3)
        self.matrix, self.shift = nn.Parameter(torch.randn(8, WIDTH)), nn.Parameter(torch.zeros(WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        if self.bug != "without":
            x = x.sigmoid() if self.bug == "sigmoid" else x.tanh()  # sigmoid
        patches = self.second(x).unfold(-1, 2, 2).transpose(1, 2).flatten(2)
        return patches @ self.matrix + self.shift


class Gathered(nn.Module):
    """Experts of which each place takes the two best, all of them at once."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.experts = nn.Linear(WIDTH, 4), nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        shares, best = self.gate(x).softmax(-1).topk(2, -1)
        shares = shares / shares.sum(-1, keepdim=True)
        every = torch.stack([expert(x) for expert in self.experts], -2)
        chosen = every.gather(-2, best[..., None].expand(*best.shape, WIDTH))
        return x + (shares[..., None] * chosen).sum(-2)


class Looped(nn.Module):
    """`Gathered` with a loop over the experts; in its bugs the right shares are there, and are not used."""

    def __init__(self, bug: str = "") -> None:
        super().__init__()
        self.bug = bug
        self.route, self.parts = nn.Linear(WIDTH, 4), nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        scores = self.route(x)
        largest, best = scores.topk(2)
        shares = largest.softmax(-1)
        if self.bug == "norm":
            shares = scores.softmax(-1).topk(2)[0]  # norm
        if self.bug == "order":
            shares = shares.flip(-1)  # order
        total = torch.zeros_like(x)
        for number, part in enumerate(self.parts):
            total = total + (shares * (best == number)).sum(-1, keepdim=True) * part(x)
        return x + total


class Placed(nn.Module):
    """Embeddings of three kinds that are added."""

    def __init__(self) -> None:
        super().__init__()
        self.word, self.kind, self.place = (nn.Embedding(size, WIDTH) for size in (TOKENS, 2, 12))

    def forward(self, ids: Tensor) -> Tensor:
        x = self.word(ids) + self.kind(torch.zeros_like(ids))
        return x + self.place(torch.arange(ids.shape[1]))  # type: ignore[no-any-return]


class Summed(nn.Module):
    """`Placed` with its sum in another order."""

    def __init__(self, bug: str = "") -> None:
        super().__init__()
        self.bug = bug
        self.table, self.pos, self.seg = (nn.Embedding(size, WIDTH) for size in (TOKENS, 12, 2))

    def forward(self, ids: Tensor) -> Tensor:
        places = torch.arange(ids.shape[1]) + (1 if self.bug == "shifted" else 0)  # shifted
        return self.table(ids) + self.pos(places) + self.seg(torch.zeros_like(ids))  # type: ignore[no-any-return]


def in_evaluation(but: str = "") -> nn.Module:
    """A model in evaluation mode, without one part of it."""
    parts = {"start": nn.Linear(8, WIDTH), "drop": nn.Dropout(), "end": nn.Linear(WIDTH, 2)}
    model = nn.Sequential(OrderedDict(parts)).eval()
    if but:
        model.get_submodule(but).train()
    return model


class Between(nn.Module):
    """Two layers, and between them something that has no effect as long as its number is 0."""

    def __init__(self, way: str, number: float) -> None:
        super().__init__()
        self.way, self.number = way, number
        self.start, self.end = nn.Linear(8, WIDTH), nn.Linear(WIDTH, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.start(x)
        if self.way == "sum":
            x = x + self.number  # sum
        if self.way == "residual":
            x = x + self.number * x.tanh()  # residual
        if self.way == "dropout":
            x = functional.dropout(x, self.number, training=True)  # dropout
        if self.way == "more" and self.number:
            x = x + self.number  # more
        return self.end(x)  # type: ignore[no-any-return]
