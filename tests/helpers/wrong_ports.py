"""Ports that use a weight in place of another: with other weights they would be equal."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.helpers.blind_ports import WIDTH, attention, linears


class KeyForQuery(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = linears(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(attention(self.key(x), self.query(x), self.value(x)))  # type: ignore[no-any-return]


class JoinedOtherwise(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.wq, self.wk, self.wv, self.wo = linears(4)

    def forward(self, x: Tensor) -> Tensor:
        weight = torch.cat([self.wq.weight, self.wv.weight, self.wk.weight])
        bias = torch.cat([self.wq.bias, self.wv.bias, self.wk.bias])
        return self.wo(attention(*functional.linear(x, weight, bias).chunk(3, -1)))  # type: ignore[no-any-return]


class Bare(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.wq, self.wk, self.wv, self.wo = (nn.Parameter(torch.randn(WIDTH, WIDTH) / 4) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (functional.linear(x, each) for each in (self.wk, self.wq, self.wv))
        return functional.linear(attention(q, k, v), self.wo)


class Turned(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.d = linears(4)

    def forward(self, x: Tensor) -> Tensor:
        q = x @ self.a.weight + self.a.bias
        return self.d(attention(q, self.b(x), self.c(x)))  # type: ignore[no-any-return]


class Bias(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.d = linears(4)

    def forward(self, x: Tensor) -> Tensor:
        q, k = functional.linear(x, self.a.weight, self.b.bias), functional.linear(x, self.b.weight, self.a.bias)
        return self.d(attention(q, k, self.c(x)))  # type: ignore[no-any-return]


class NormsTurned(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.c, self.n, self.l = nn.Conv1d(WIDTH, WIDTH, 1), nn.BatchNorm1d(WIDTH), nn.LayerNorm(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        x = self.n(self.c(x.mT)).mT
        return functional.layer_norm(x, (WIDTH,), self.l.bias, self.l.weight)


class List(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.branches = nn.ModuleList(linears(2))

    def forward(self, x: Tensor) -> Tensor:
        return self.branches[0](x).tanh() * self.branches[1](x)  # type: ignore[no-any-return]


class ListTurned(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.paths = nn.ModuleList(linears(2))

    def forward(self, x: Tensor) -> Tensor:
        return self.paths[1](x).tanh() * self.paths[0](x)  # type: ignore[no-any-return]


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale, self.shift = linears(2)

    def forward(self, x: Tensor) -> Tensor:
        return x * (1 + self.scale(x)) + self.shift(x)


class ScaledTurned(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.to_scale, self.to_shift = linears(2)

    def forward(self, x: Tensor) -> Tensor:
        return x * (1 + self.to_shift(x)) + self.to_scale(x)


class Heads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(WIDTH, 1, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.attn(x, x, x, need_weights=False)[0]  # type: ignore[no-any-return]


class HeadsTurned(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = linears(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.out_proj(attention(self.q_proj(x), self.v_proj(x), self.k_proj(x)))  # type: ignore[no-any-return]


class Chain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.steps = nn.ModuleList(linears(3))

    def forward(self, x: Tensor) -> Tensor:
        for step in self.steps:
            x = step(x).tanh()
        return x


class ChainTurned(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.ws = nn.ParameterList(torch.randn(WIDTH, WIDTH) / 4 for _ in range(3))
        self.bs = nn.ParameterList(torch.randn(WIDTH) / 4 for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        for number in (1, 0, 2):
            x = functional.linear(x, self.ws[number], self.bs[number]).tanh()
        return x


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.student, self.teacher = linears(2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.student(x).tanh() - self.teacher(x)  # type: ignore[no-any-return]


class TwoTurned(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.of = nn.ParameterDict({name: torch.randn(WIDTH, WIDTH) / 4 for name in ("student", "teacher")})

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.of["teacher"]).tanh() - functional.linear(x, self.of["student"])
