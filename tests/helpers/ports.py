"""Ports of models written by hand, right as they are and wrong with one planted bug, on a line marked with its name."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

VOCABULARY, WIDTH, HEADS, LENGTH = 60, 32, 4, 24


def split(x: Tensor, heads: int = HEADS) -> Tensor:
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def merged(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)


class GptBlock(nn.Module):
    """A layer of GPT-2 with three matrices in place of a fused one."""

    def __init__(self, bug: str) -> None:
        super().__init__()
        self.bug = bug
        self.ln_in = nn.LayerNorm(WIDTH, eps=1e-3 if bug == "eps" else 1e-5)
        self.query, self.key, self.value, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.ln_mid, self.grow, self.shrink = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 128), nn.Linear(128, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        h = self.ln_in(x)
        q, k, v = split(self.query(h)), split(self.key(h)), split(self.value(h))
        weights = q @ k.transpose(-1, -2)
        weights = weights / math.sqrt(WIDTH if self.bug == "scale" else WIDTH // HEADS)  # scale
        mask = torch.ones(x.shape[1], x.shape[1]).tril(1 if self.bug == "diagonal" else 0)  # diagonal
        weights = weights.masked_fill(mask == 0, -1.0 if self.bug == "fill" else -1e30)  # fill
        weights = weights.softmax(-2 if self.bug == "dim" else -1)  # dim
        h = weights @ v
        h = h.flatten(2).reshape(x.shape) if self.bug == "heads" else merged(h)  # heads
        x = x + self.out(h)
        h = self.ln_mid(h if self.bug == "stream" else x)  # stream
        h = functional.gelu(self.grow(h), approximate="none" if self.bug == "gelu" else "tanh")  # gelu
        h = self.shrink(h)
        return h if self.bug == "residual" else x + h  # residual


class Gpt(nn.Module):
    def __init__(self, bug: str = "") -> None:
        super().__init__()
        self.bug = bug
        self.tokens, self.places = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(LENGTH, WIDTH)
        self.blocks = nn.ModuleList([GptBlock(bug), GptBlock("")])
        self.last = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, VOCABULARY, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        places = torch.arange(ids.shape[1])
        if self.bug == "offset":
            places = places + 1  # offset
        x = self.tokens(ids) + self.places(places)
        for block in self.blocks:
            x = block(x)
        if self.bug == "last":
            return self.head(x)  # type: ignore[no-any-return]  # last
        return self.head(self.last(x))  # type: ignore[no-any-return]


class T5Norm(nn.Module):
    def __init__(self, bug: str = "") -> None:
        super().__init__()
        self.bug = bug
        self.gain = nn.Parameter(torch.ones(WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        if self.bug == "mean":
            x = x - x.mean(-1, keepdim=True)  # mean
        power = 1 if self.bug == "square" else 2
        size = x.abs().pow(power).mean(-1, keepdim=True)  # square
        return self.gain * x * torch.rsqrt(size + (1e-2 if self.bug == "epsilon" else 1e-6))  # epsilon


class T5Block(nn.Module):
    def __init__(self, bug: str) -> None:
        super().__init__()
        self.bug = bug
        self.norm, self.mlp_norm = T5Norm(bug), T5Norm()
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False)
        self.gate_up, self.down = nn.Linear(WIDTH, 128, bias=False), nn.Linear(64, WIDTH, bias=False)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        q, k, v = map(split, self.qkv(self.norm(x)).chunk(3, -1))
        if self.bug == "t5 scale":
            q = q / math.sqrt(8)  # t5 scale
        weights = (q @ k.transpose(-1, -2) + (0 if self.bug == "bias" else bias)).softmax(-1)  # bias
        x = x + self.out(merged(weights @ v))
        gate, up = self.gate_up(self.mlp_norm(x)).chunk(2, -1)
        if self.bug == "swapped":
            gate, up = up, gate  # swapped
        gate = functional.silu(gate) if self.bug == "silu" else functional.gelu(gate, approximate="tanh")  # silu
        return x + self.down(gate * up)  # type: ignore[no-any-return]


class T5(nn.Module):
    """The encoder of T5 with fused matrices, and the table of relative places looked up once."""

    def __init__(self, bug: str = "") -> None:
        super().__init__()
        self.bug = bug
        self.words, self.relative = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(8, HEADS)
        self.blocks = nn.ModuleList([T5Block(bug), T5Block("")])
        self.norm = T5Norm()

    def forward(self, ids: Tensor) -> Tensor:
        places = torch.arange(ids.shape[1])
        apart = places[None] - places[:, None]
        if self.bug == "direction":
            apart = -apart  # direction
        far = 2 + (apart.abs().float().clamp(min=1) / 2).log() / math.log(20 / 2) * 2
        far = far.to(torch.long).clamp(max=3)
        bucket = torch.where(apart.abs() < 2, apart.abs(), far) + 4 * (apart > 0)
        bias = self.relative(bucket).permute(2, 0, 1)
        x = self.words(ids)
        if self.bug == "embedding":
            x = x * math.sqrt(WIDTH)  # embedding
        for block in self.blocks:
            x = block(x, bias)
        return self.norm(x)  # type: ignore[no-any-return]


class ClipBlock(nn.Module):
    """A layer of CLIP's text model as OpenAI wrote it, on torch's own attention."""

    def __init__(self, bug: str) -> None:
        super().__init__()
        self.bug = bug
        self.attn, self.ln_1, self.ln_2 = nn.MultiheadAttention(WIDTH, HEADS), nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.mlp = nn.ModuleDict({"c_fc": nn.Linear(WIDTH, 64), "c_proj": nn.Linear(64, WIDTH)})

    def forward(self, x: Tensor) -> Tensor:
        mask = torch.full((len(x), len(x)), float("-inf")).triu(1)
        if self.bug == "mask":
            mask = mask.t()  # mask
        h = self.ln_1(x)
        x = x + self.attn(h, h, h, need_weights=False, attn_mask=None if self.bug == "no mask" else mask)[0]  # no mask
        h = self.mlp["c_fc"](self.ln_2(x))
        h = h * torch.sigmoid((1.0 if self.bug == "quick" else 1.702) * h)  # quick
        return x + self.mlp["c_proj"](h)  # type: ignore[no-any-return]


class Clip(nn.Module):
    def __init__(self, bug: str = "") -> None:
        super().__init__()
        self.bug = bug
        self.token_embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.positional_embedding = nn.Parameter(torch.randn(LENGTH, WIDTH) / 10)
        self.blocks = nn.ModuleList([ClipBlock(bug), ClipBlock("")])
        self.ln_final = nn.LayerNorm(WIDTH)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.token_embedding(ids) + self.positional_embedding[: ids.shape[1]]
        x = x.permute(1, 0, 2)  # length first, as torch's attention takes it
        if self.bug == "batch first":
            x = x.permute(1, 0, 2)  # batch first
        for block in self.blocks:
            x = block(x)
        if self.bug == "batch first":
            x = x.permute(1, 0, 2)
        return self.ln_final(x.permute(1, 0, 2))  # type: ignore[no-any-return]


class DecoderLayer(nn.Module):
    """torch's decoder layer by hand."""

    def __init__(self, bug: str) -> None:
        super().__init__()
        self.bug = bug
        self.self_qkv, self.self_o = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.q, self.kv, self.o = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 64), nn.Linear(64, WIDTH)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(WIDTH) for _ in range(3))

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        q, k, v = map(split, self.self_qkv(x).chunk(3, -1))
        h = functional.scaled_dot_product_attention(q, k, v, is_causal=self.bug == "causal")  # causal
        x = self.norm1(x + self.self_o(merged(h)))
        k, v = map(split, self.kv(x if self.bug == "memory" else memory).chunk(2, -1))  # memory
        h = functional.scaled_dot_product_attention(split(self.q(x)), k, v)
        if self.bug == "values":
            h = functional.scaled_dot_product_attention(split(self.q(x)), v, k)  # values
        h = x + self.o(merged(h))
        x = self.norm1(h) if self.bug == "norm" else self.norm2(h)  # norm
        h = self.up(x)
        h = functional.leaky_relu(h) if self.bug == "leaky" else functional.relu(h)  # leaky
        h = functional.dropout(h, 0.1, training=self.bug == "dropout")  # dropout
        return self.norm3(x + self.down(h))  # type: ignore[no-any-return]


class Decoder(nn.Module):
    def __init__(self, bug: str = "") -> None:
        super().__init__()
        self.layers = nn.ModuleList([DecoderLayer(bug), DecoderLayer("")])

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x, memory)
        return x


class TorchDecoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerDecoderLayer(WIDTH, HEADS, 64, batch_first=True)
        self.decoder = nn.TransformerDecoder(layer, 2)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        return self.decoder(x, memory)  # type: ignore[no-any-return]


class Resnet(nn.Module):
    """ResNet of basic blocks, flat and by hand."""

    def __init__(self, bug: str = "") -> None:
        super().__init__()
        self.bug = bug
        self.stem, self.stem_bn = nn.Conv2d(3, 16, 7, 2, 3, bias=False), nn.BatchNorm2d(16)
        self.convs, self.norms = nn.ModuleList(), nn.ModuleList()
        for inputs, outputs, stride in ((16, 16, 1), (16, 32, 2)):
            dilation = 2 if bug == "dilation" and stride == 2 else 1
            self.convs.append(nn.Conv2d(inputs, outputs, 3, stride, dilation, dilation, bias=False))
            self.convs.append(nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False))
            momentum: Any = {"eps": 1e-3} if bug == "norm eps" else {}
            self.norms.extend([nn.BatchNorm2d(outputs, **momentum), nn.BatchNorm2d(outputs)])
        self.short, self.short_bn = nn.Conv2d(16, 32, 1, 2, bias=False), nn.BatchNorm2d(32)
        self.fc = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.stem_bn(self.stem(x)))
        pool = functional.avg_pool2d if self.bug == "pool" else functional.max_pool2d
        x = pool(x, 3, 2, 1)  # pool
        for place, shortcut in ((0, lambda x: x), (2, lambda x: self.short_bn(self.short(x)))):
            h = functional.relu(self.norms[place](self.convs[place](x)))
            h = self.norms[place + 1](self.convs[place + 1](h))
            h = functional.relu(h) if self.bug == "order" else h  # order
            x = h + shortcut(x) if self.bug == "order" else functional.relu(h + shortcut(x))
        x = x.amax((2, 3)) if self.bug == "global" else x.mean((2, 3))  # global
        return self.fc(x)  # type: ignore[no-any-return]
