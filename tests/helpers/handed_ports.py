"""Small models and ports of them that hand tensors on, loop and select; the line of each bug is marked with it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTH = 16


class Mixed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(3))

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.out(self.one(a).tanh() * self.two(b))  # type: ignore[no-any-return]


class Joint(nn.Module):
    """`Mixed` in other words."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.both, self.out = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        left, right = self.one(a), self.both(b)
        return self.out(right * left.tanh())  # type: ignore[no-any-return]


class Whole(nn.Module):
    """A layer with two residual parts."""

    def __init__(self) -> None:
        super().__init__()
        self.start, self.norm, self.place = (
            nn.Linear(WIDTH, WIDTH),
            nn.LayerNorm(WIDTH),
            nn.Parameter(torch.ones(WIDTH)),
        )
        self.joint, self.end = Joint(), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.start(x).sigmoid()
        x = x + self.joint(self.norm(x), x + self.place)
        return self.end(x).relu()  # type: ignore[no-any-return]


class Handed(nn.Module):
    """`Whole` with a module for its second part."""

    def __init__(self, bug: str = "") -> None:
        super().__init__()
        self.bug = bug
        self.fc, self.ln, self.mixed, self.last = (
            nn.Linear(WIDTH, WIDTH),
            nn.LayerNorm(WIDTH),
            Mixed(),
            nn.Linear(WIDTH, WIDTH),
        )
        self.shift = nn.Parameter(torch.ones(WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.fc(x).sigmoid()
        h = x if self.bug == "norm" else self.ln(x)
        y = self.mixed(h, x + self.shift)  # norm
        return self.last(x + y).relu()  # type: ignore[no-any-return]


class Shuffled(nn.Module):
    """Two branches, the second of which is given the second half of what was shuffled before."""

    def __init__(self) -> None:
        super().__init__()
        self.start, self.conv = nn.Conv1d(4, 4, 1), nn.Conv1d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([x, self.start(x)], 1)
        x = x.view(len(x), 2, 4, -1).transpose(1, 2).flatten(1, 2)
        left, right = x.chunk(2, 1)
        return torch.cat([left, self.conv(right).relu()], 1)


class Stacked(nn.Module):
    """`Shuffled` with modules in modules."""

    def __init__(self, bug: str = "") -> None:
        super().__init__()
        self.bug = bug
        self.first, self.branch = (
            nn.Conv1d(4, 4, 1),
            nn.Sequential(nn.Sequential(nn.Conv1d(4, 4, 3, padding=1)), nn.ReLU()),
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.bug == "shuffle":
            x = torch.cat([x, self.first(x)], 1)  # shuffle
        else:
            x = torch.stack([x, self.first(x)], 2).flatten(1, 2)
        if self.bug == "halves":
            right, left = x.chunk(2, 1)  # halves
        else:
            left, right = x.chunk(2, 1)
        return torch.cat([left, self.branch(right)], 1)


class Routed(nn.Module):
    """Experts that are given their rows all at once, sorted by expert."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.experts = nn.Linear(WIDTH, 4), nn.Parameter(torch.randn(4, WIDTH, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        shares, best = self.gate(x).softmax(-1).topk(2)
        shares = shares / shares.sum(-1, keepdim=True)
        order = best.flatten().argsort()
        rows = torch.bmm(x[order // 2, None], self.experts[best.flatten()[order]])[:, 0].tanh()
        rows = rows * shares.flatten()[order, None]
        return x + torch.zeros_like(x).index_add(0, order // 2, rows)


class InTurns(nn.Module):
    """`Routed` with one expert after the other."""

    def __init__(self, bug: str = "") -> None:
        super().__init__()
        self.bug = bug
        self.route = nn.Linear(WIDTH, 4)
        self.parts = nn.ParameterList(nn.Parameter(torch.randn(WIDTH, WIDTH)) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        shares, best = self.route(x).softmax(-1).topk(2)
        if self.bug != "renorm":
            shares = shares / shares.sum(-1, keepdim=True)
        total = torch.zeros_like(x)
        for number, part in enumerate(self.parts):
            row, place = torch.where(best == number)
            y = (x[row] @ part).tanh()
            if self.bug == "shares":
                total.index_add_(0, row, y)  # shares
            else:
                total.index_add_(0, row, y * shares[row, place, None])  # renorm
        return x + total


class Heads(nn.Module):
    """Attention whose queries, keys and values are beside each other for each head, and a table of relative places."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out, self.table = (
            nn.Linear(WIDTH, 3 * WIDTH),
            nn.Linear(WIDTH, WIDTH),
            nn.Parameter(torch.randn(11)),
        )
        places = torch.arange(6)
        self.register_buffer("index", places[:, None] - places + 5, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (4, 12)).transpose(1, 2).chunk(3, -1)
        y = functional.scaled_dot_product_attention(q, k, v, self.table[self.get_buffer("index")])
        return self.out(y.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class ByHand(nn.Module):
    """`Heads` without the fused attention."""

    def __init__(self, bug: str = "") -> None:
        super().__init__()
        self.bug = bug
        self.fused, self.o, self.relative = (
            nn.Linear(WIDTH, 3 * WIDTH),
            nn.Linear(WIDTH, WIDTH),
            nn.Parameter(torch.randn(11)),
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.bug == "flat":
            q, k, v = (part.unflatten(-1, (4, 4)).transpose(1, 2) for part in self.fused(x).chunk(3, -1))  # flat
        else:
            q, k, v = self.fused(x).unflatten(-1, (4, 12)).transpose(1, 2).split(4, -1)
        places = torch.arange(6)
        apart = places - places[:, None] if self.bug == "way" else places[:, None] - places  # way
        scores = q @ k.mT / 2 + self.relative[apart + 5]  # way
        return self.o((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class Scanned(nn.Module):
    """A recurrence with a way around it."""

    def __init__(self) -> None:
        super().__init__()
        self.start, self.skip, self.end = (
            nn.Linear(WIDTH, WIDTH),
            nn.Parameter(torch.ones(WIDTH)),
            nn.Linear(WIDTH, WIDTH),
        )

    def forward(self, x: Tensor) -> Tensor:
        x, state, states = self.start(x).mT, torch.zeros(len(x), WIDTH), []
        for n in range(x.shape[2]):
            state = (state + x[..., n]).tanh()
            states.append(state)
        y = torch.stack(states, -1) + x * self.skip[:, None]
        return self.end(y.mT * x.mT.sigmoid())  # type: ignore[no-any-return]


class Stepped(nn.Module):
    """`Scanned` with the time in the middle."""

    def __init__(self, bug: str = "") -> None:
        super().__init__()
        self.bug = bug
        self.first, self.around, self.last = (
            nn.Linear(WIDTH, WIDTH),
            nn.Parameter(torch.ones(WIDTH)),
            nn.Linear(WIDTH, WIDTH),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        state, states = torch.zeros_like(x[:, 0]), []
        for n in range(x.shape[1]):
            state = (state + x[:, n]).tanh()
            states.append(state)
        y = torch.stack(states, 1)
        if self.bug != "around":
            y = y + x * self.around
        return self.last(y * x.sigmoid())  # type: ignore[no-any-return]  # around
