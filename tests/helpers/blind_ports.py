"""Attention and other layers of equal shape, ported with names that say nothing, in other orders, joined and apart."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTH, HALF, HEADS = 16, 8, 4


def attention(q: Tensor, k: Tensor, v: Tensor, divisor: float = 4.0) -> Tensor:
    return (q @ k.mT / divisor).softmax(-1) @ v


def in_heads(x: Tensor) -> Tensor:
    return x.unflatten(-1, (HEADS, -1)).transpose(1, 2)


def linears(count: int, bias: bool = True) -> list[nn.Linear]:
    return [nn.Linear(WIDTH, WIDTH, bias=bias) for _ in range(count)]


class Named(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = linears(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.o(attention(self.q(x), self.k(x), self.v(x)))  # type: ignore[no-any-return]


class Blind(nn.Module):
    """`Named` in another order, with names that say nothing."""

    def __init__(self, bug: str = "") -> None:
        super().__init__()
        self.bug = bug
        self.f, self.g, self.h, self.last = linears(4)

    def forward(self, x: Tensor) -> Tensor:
        k, v, q = self.f(x), self.g(x), self.h(x)
        shares = q @ k.mT / 4
        shares = shares.softmax(-2) if self.bug == "axis" else shares.softmax(-1)  # axis
        found = shares @ v
        if self.bug == "last":
            found = found.tanh()  # last
        return self.last(found)  # type: ignore[no-any-return]


class Layers(nn.Module):
    """Two layers of one of the two, with a norm before each."""

    def __init__(self, kind: str, bug: str = "") -> None:
        super().__init__()
        made = [Named(), Named()] if kind == "named" else [Blind(), Blind(bug)]
        self.parts = nn.ModuleList(nn.Sequential(nn.LayerNorm(WIDTH), each) for each in made)

    def forward(self, x: Tensor) -> Tensor:
        for part in self.parts:
            x = x + part(x)
        return x


class Fused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mix, self.end = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.mix(x).chunk(3, -1)
        return self.end(attention(q, k, v))  # type: ignore[no-any-return]


class Joined(nn.Module):
    """`Fused` with its matrix joined of three in each forward."""

    def __init__(self, bug: str = "") -> None:
        super().__init__()
        self.bug = bug
        self.wq, self.wk, self.wv, self.wo = linears(4)

    def forward(self, x: Tensor) -> Tensor:
        weight = torch.cat([self.wq.weight, self.wk.weight, self.wv.weight])
        bias = torch.cat([self.wq.bias, self.wk.bias, self.wv.bias])
        q, k, v = functional.linear(x, weight, bias).chunk(3, -1)
        found = (q @ k.mT / (5 if self.bug == "divisor" else 4)).softmax(-1) @ v  # divisor
        return self.wo(found)  # type: ignore[no-any-return]


class StackedBare(nn.Module):
    """Matrices that no module holds, stacked in each forward, some of them turned around."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.d = (nn.Parameter(torch.randn(WIDTH, WIDTH) / 4) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = torch.einsum("bti,nio->nbto", x, torch.stack([self.c, self.a, self.b]))
        return attention(q, k, v) @ self.d


class Plain(nn.Module):
    """`StackedBare` with modules."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = linears(4, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(attention(self.query(x), self.key(x), self.value(x)))  # type: ignore[no-any-return]


class Held(nn.Module):
    """`Named` with its weights in buffers."""

    def __init__(self) -> None:
        super().__init__()
        for name in "kqvo":
            self.register_buffer(f"w{name}", torch.randn(WIDTH, WIDTH) / 4)
            self.register_buffer(f"b{name}", torch.zeros(WIDTH))

    def part(self, name: str, x: Tensor) -> Tensor:
        return functional.linear(x, self.get_buffer(f"w{name}"), self.get_buffer(f"b{name}"))

    def forward(self, x: Tensor) -> Tensor:
        return self.part("o", attention(*(self.part(name, x) for name in "qkv")))


class Branches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.three = (nn.Sequential(*linears(2)) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        return self.one(x).relu() + self.two(x).tanh() + self.three(x).sigmoid()  # type: ignore[no-any-return]


class BranchesApart(nn.Module):
    """`Branches` summed in another order."""

    def __init__(self, bug: str = "") -> None:
        super().__init__()
        self.bug = bug
        self.s, self.r, self.t, self.s_end, self.r_end, self.t_end = linears(6)

    def forward(self, x: Tensor) -> Tensor:
        x, y = self.s_end(self.s(x)).sigmoid(), x
        if self.bug == "twice":
            x = x.sigmoid()  # twice
        return x + self.t_end(self.t(y)).tanh() + self.r_end(self.r(y)).relu()  # type: ignore[no-any-return]


class Grouped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.both, self.end = nn.Conv1d(4, 8, 1, groups=2), nn.Conv1d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.end(self.both(x[..., :4].mT).tanh())  # type: ignore[no-any-return]


class Groups(nn.Module):
    """`Grouped` with a convolution for each group."""

    def __init__(self, bug: str = "") -> None:
        super().__init__()
        self.bug = bug
        self.low, self.high, self.end = nn.Conv1d(2, 4, 1), nn.Conv1d(2, 4, 1), nn.Conv1d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        low, high = x[..., :4].mT.chunk(2, 1)
        x = torch.cat([self.low(low), self.high(high)], 1)
        return self.end(x.sigmoid() if self.bug == "act" else x.tanh())  # type: ignore[no-any-return]  # act


class Ends(nn.Module):
    """Two groups of layers that are given the same, one of them at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Named()
        self.first, self.second = linears(2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.inner(x)
        return self.first(x), self.second(x).tanh()


class EndsBlind(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.part = Blind()
        self.y, self.z = linears(2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.part(x)
        z = self.z(x).tanh()
        return self.y(x), z


class Gates(nn.Module):
    """The gates of a `GRU`, each with matrices of its own, in another order."""

    def __init__(self) -> None:
        super().__init__()
        self.xz, self.xr, self.xn = (nn.Linear(HALF, WIDTH) for _ in range(3))
        self.hz, self.hr, self.hn = linears(3)

    def forward(self, x: Tensor) -> Tensor:
        h, found = torch.zeros_like(x[:, 0]), []
        for now in x[..., :HALF].unbind(1):
            z, r = (self.xz(now) + self.hz(h)).sigmoid(), (self.xr(now) + self.hr(h)).sigmoid()
            n = (self.xn(now) + r * self.hn(h)).tanh()
            h = n + z * (h - n)
            found.append(h)
        return torch.stack(found, 1)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(HALF, WIDTH, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x[..., :HALF])[0]  # type: ignore[no-any-return]


class FewerKeys(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q, self.o = linears(2)
        self.k, self.v = nn.Linear(WIDTH, WIDTH // HEADS), nn.Linear(WIDTH, WIDTH // HEADS)

    def forward(self, x: Tensor) -> Tensor:
        k, v = self.k(x)[:, None], self.v(x)[:, None]
        return self.o(attention(in_heads(self.q(x)), k, v).transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class FewerKeysJoined(nn.Module):
    """`FewerKeys` with one matrix joined of three, which have other sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.c, self.d = linears(2)
        self.a, self.b = nn.Linear(WIDTH, WIDTH // HEADS), nn.Linear(WIDTH, WIDTH // HEADS)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.a, self.b, self.c
        weight, bias = (torch.cat([getattr(part, name) for part in parts]) for name in ("weight", "bias"))
        v, k, q = functional.linear(x, weight, bias).split([WIDTH // HEADS] * 2 + [WIDTH], -1)
        found = attention(in_heads(q), k[:, None], v[:, None]).transpose(1, 2).flatten(2)
        return self.d(found)  # type: ignore[no-any-return]


class Norms(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.batch, self.layer = nn.Conv1d(WIDTH, WIDTH, 1), nn.BatchNorm1d(WIDTH), nn.LayerNorm(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(self.batch(self.conv(x.mT)).mT)  # type: ignore[no-any-return]


class NormsByHand(nn.Module):
    """`Norms` in steps, with weights that no module holds."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(WIDTH, WIDTH)
        self.register_buffer("m", torch.zeros(WIDTH))
        self.register_buffer("s", torch.ones(WIDTH))
        self.g, self.b, self.gamma, self.beta = (nn.Parameter(torch.ones(WIDTH)) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        x = (self.first(x) - self.m) / (self.s + 1e-5).sqrt() * self.g + self.b  # type: ignore[operator]
        apart = x - x.mean(-1, keepdim=True)
        return self.gamma * apart * (apart.pow(2).mean(-1, keepdim=True) + 1e-5).rsqrt() + self.beta


class Rotated(nn.Module):
    """Queries and keys are rotated as complex numbers of two neighbours."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = HEADS
        self.wq, self.wk, self.wv, self.wo = linears(4)

    def forward(self, x: Tensor) -> Tensor:
        angles = torch.arange(x.shape[1])[:, None] / torch.tensor([1.0, 10.0])

        def rotated(each: Tensor) -> Tensor:
            pairs = torch.view_as_complex(in_heads(each).unflatten(-1, (-1, 2)).contiguous())
            return torch.view_as_real(pairs * torch.polar(torch.ones_like(angles), angles)).flatten(-2)

        found = attention(rotated(self.wq(x)), rotated(self.wk(x)), in_heads(self.wv(x)))
        return self.wo(found.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class RotatedHalves(nn.Module):
    """`Rotated` with the two numbers of each in the halves of a head."""

    def __init__(self) -> None:
        super().__init__()
        self.num_heads = HEADS
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = linears(4)

    def forward(self, x: Tensor) -> Tensor:
        angles = (torch.arange(x.shape[1])[:, None] / torch.tensor([1.0, 10.0])).repeat(1, 2)

        def rotated(each: Tensor) -> Tensor:
            each = in_heads(each)
            left, right = each.chunk(2, -1)
            return each * angles.cos() + torch.cat([-right, left], -1) * angles.sin()

        found = attention(rotated(self.q_proj(x)), rotated(self.k_proj(x)), in_heads(self.v_proj(x)))
        return self.o_proj(found.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]
