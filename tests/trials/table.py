"""Models broken in one place, the inputs that they raise with, and the advice that is printed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.trials.sequences import (
    AddsPositionsFromTwo,
    AttendsToOthers,
    AttendsToWider,
    BeginsForOneLayer,
    FiveHeads,
    GathersOne,
    HidesKeys,
    LooksUpPositions,
    MasksKeys,
    ScoresWithNarrowKeys,
    SequenceFirst,
    TakesAnObject,
    TurnsForRecurrence,
    ViewsKeysLikeQueries,
    by_name,
)


class FlattensTheBatch(nn.Module):
    """`torch.flatten` without a first dimension: with a wider layer it would run, and mix the examples."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(256, 5)

    def forward(self, x: Tensor) -> Any:
        return self.fc(torch.flatten(self.conv(x)))


class ViewsTooFew(nn.Module):
    """A view with the number of features written out; the layer behind it has the same number."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(100, 5)

    def forward(self, x: Tensor) -> Any:
        return self.fc(self.conv(x).view(-1, 100))


class NormOfSequence(nn.Module):
    """A batch norm behind a linear layer over a sequence, whose features are last."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.bn = nn.Linear(4, 6), nn.BatchNorm1d(6)

    def forward(self, x: Tensor) -> Any:
        return self.bn(self.fc(x))


class MixesTokens(nn.Module):
    """Token mixing made for another number of patches, with a residual connection around it."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.fc1, self.fc2 = nn.Conv2d(3, 8, 8, 8), nn.Linear(16, 12), nn.Linear(12, 16)

    def forward(self, x: Tensor) -> Any:
        x = self.patch(x).flatten(2)
        return (x + self.fc2(torch.relu(self.fc1(x)))).mean(-1)


class ThreeProjections(nn.Module):
    """Query, key and value of a width that the input does not have: all three have to change."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(5, 24)
        self.q, self.k, self.v = (nn.Linear(16, 16) for _ in range(3))

    def forward(self, x: Tensor) -> Any:
        x = self.embed(x)
        return F.scaled_dot_product_attention(self.q(x), self.k(x), self.v(x))


class AddsPositions(nn.Module):
    """A table of positions for another size of image."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.positions = nn.Conv2d(3, 8, 8, 8), nn.Parameter(torch.zeros(1, 16, 8))

    def forward(self, x: Tensor) -> Any:
        return self.patch(x).flatten(2).transpose(1, 2) + self.positions


class AddsMask(nn.Module):
    """Scores of the past and the new key, and a mask of the past alone."""

    def forward(self, query: Tensor, keys: Tensor, mask: Tensor) -> Any:
        keys = torch.cat([keys, query], 1)
        return (query @ keys.transpose(1, 2) + mask).softmax(-1)


class RotatesInFloat(nn.Module):
    """A bfloat16 model whose query and key are multiplied with a float32 table."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out, self.cos = nn.Linear(8, 24), nn.Linear(8, 8), torch.ones(8)
        self.bfloat16()

    def forward(self, x: Tensor) -> Any:
        query, key, value = self.qkv(x).chunk(3, -1)
        return self.out(F.scaled_dot_product_attention(query * self.cos, key * self.cos, value))


class HalvesTwice(nn.Module):
    """A U-Net of two levels: what is halved and doubled again is smaller than what was kept."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up, self.out = nn.Conv2d(3, 4, 1), nn.ConvTranspose2d(4, 4, 2, 2), nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Any:
        kept = self.down(x)
        return self.out(torch.cat([self.up(F.max_pool2d(kept, 2)), kept], 1))


class CountsPositions(nn.Module):
    """An embedding of positions with fewer rows than there are tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(50, 6), nn.Embedding(10, 6)

    def forward(self, ids: Tensor) -> Any:
        return self.tokens(ids) + self.positions(torch.arange(ids.shape[1]))


class BothAreFloat64(nn.Module):
    """Two layers of float32 for an input of float64: to convert one of them moves the crash to the other."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv1d(3, 4, 1), nn.BatchNorm1d(4)

    def forward(self, x: Tensor) -> Any:
        return self.bn(self.conv(x))


class HalvesOneBranch(nn.Module):
    """A residual block that halves the image, and a skip connection that does not."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4)
        self.skip = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))

    def forward(self, x: Tensor) -> Any:
        return self.norm(self.conv(x)) + self.skip(x)


class OnePartIsFloat64(nn.Module):
    """A part of several layers was converted to float64, and what is behind it was not."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6)).double()
        self.head = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Any:
        return self.head(self.body(x))


class BeforeTheSkipIsTakenApart(nn.Module):
    """A norm of half the channels stands right behind a `cat`: to widen it moves the crash."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.proj, self.conv = nn.GroupNorm(2, 8), nn.Linear(8, 8), nn.Conv2d(16, 4, 1)

    def forward(self, x: Tensor) -> Any:
        x = torch.cat([x, x], 1)
        h = self.proj(self.norm(x).flatten(2).transpose(1, 2)).transpose(1, 2).reshape(x.shape)
        return self.conv(x + h)


class SplitsHeads(nn.Module):
    """Heads of a size that does not divide what the projection gives."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.out = nn.Linear(8, 30), nn.Linear(32, 8)

    def forward(self, x: Tensor) -> Any:
        return self.out(self.query(x).view(x.shape[0], x.shape[1], -1, 16).flatten(2))


class StacksBranches(nn.Module):
    """Two branches of one image, one of which lacks its border."""

    def __init__(self) -> None:
        super().__init__()
        self.narrow, self.wide = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 5, padding=1)

    def forward(self, x: Tensor) -> Any:
        return torch.stack([self.narrow(x), self.wide(x)]).mean(0)


class SqueezesAll(nn.Module):
    """A squeeze that takes the only example away, too."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Any:
        return self.fc(F.adaptive_avg_pool2d(self.conv(x), 1).squeeze()).log_softmax(1)


class TransformsToComplex(nn.Module):
    """A layer of real weights for a spectrum, the imaginary part of which must not be dropped."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Any:
        return self.fc(torch.fft.rfft(x))


class TakesEachLevel(nn.Module):
    """A pyramid: a convolution for each level, all built for the channels of the level before."""

    def __init__(self) -> None:
        super().__init__()
        self.levels = nn.ModuleList(nn.Conv2d(3 if not n else 4 * n, 4 * n + 4, 3, 2, 1) for n in range(3))
        self.sides = nn.ModuleList(nn.Conv2d(channels, 2, 1) for channels in (3, 4, 8))

    def forward(self, x: Tensor) -> Any:
        total = torch.zeros(())
        for level, side in zip(self.levels, self.sides, strict=True):
            x = level(x)
            total = total + side(x).mean((2, 3))
        return total


MENDED: dict[str, tuple[Callable[[], nn.Module], tuple[str, ...], list[str]]] = {
    "flattens the batch": (
        FlattensTheBatch, ("2x3x8x8",), ["call torch.flatten in line N with start_dim=1"],
    ),
    "views too few": (
        ViewsTooFew, ("2x3x9x9",),
        [
            "call Tensor.view in line N with (x.shape[0], -1) and set in_features=196 in fc",
            "give the model x of 2×3×7×7",
        ],
    ),
    "norm of a sequence": (
        NormOfSequence, ("2x5x4",), ["pass input.transpose(1, 2) to bn, and take .transpose(1, 2) of its result"],
    ),
    "mixes tokens": (
        MixesTokens, ("2x3x48x48",),
        ["give the model x of 2×3×32×32", "set in_features=36 in fc1 and out_features=36 in fc2"],
    ),
    "three projections": (
        ThreeProjections, ("2x7x5",), ["set out_features=16 in embed", "set in_features=24 in q, k and v"],
    ),
    "adds positions": (
        AddsPositions, ("2x3x48x48",), ["give the model x of 2×3×32×32", "make the parameter positions 1×36×8"],
    ),
    "adds a mask": (
        AddsMask, ("2x1x8", "2x4x8", "2x1x4"),
        ["give the model mask of 2×1×5", "give the model keys of 2×3×8"],
    ),
    "rotates in float32": (
        RotatesInFloat, ("2x3x8",),
        ["apply .to(torch.bfloat16) to operands 1 and 2 of F.scaled_dot_product_attention in line N"],
    ),
    "halves twice": (
        HalvesTwice, ("2x3x15x14",), ["give the model x of 2×3×14×14", "set output_padding=(1, 0) in up"],
    ),
    "counts positions": (
        CountsPositions, ("2x14:int64:0..50",),
        ["give the model ids of 2×10", "set num_embeddings=14 in positions or more"],
    ),
    "halves one branch": (HalvesOneBranch, ("2x3x9x8",), ["set stride=1 in conv", "set stride=2 in skip.0"]),
    "one part is float64": (
        OnePartIsFloat64, ("2x4:float32",), ["convert all of the module, body.to(torch.float32)"],
    ),
    "sequence first": (SequenceFirst, ("2x5x4",), ["set batch_first=True in gru"]),
    "both are float64": (BothAreFloat64, ("2x3x5:float64",), ["give the model x.to(torch.float32)"]),
    "masks keys": (
        MasksKeys, ("2x6x8", "2x6:int64:0..2"),
        ["apply .unsqueeze(1) to the second operand of Tensor.masked_fill in line N"],
    ),
    "attends to others": (
        AttendsToOthers, ("2x5x16", "3x7x16"), ["give the model memory of 2×7×16", "give the model x of 3×5×16"],
    ),
    "splits heads": (
        SplitsHeads, ("2x5x8",),
        ["set out_features=32 in query", "set out_features=16 in query and in_features=16 in out"],
    ),
    "looks up positions": (LooksUpPositions, ("2x14:int64:0..20",), ["give the model ids of 2×10"]),
    "scores with narrow keys": (
        ScoresWithNarrowKeys, ("2x7x5",), ["set out_features=6 in query", "set out_features=8 in key"],
    ),
    "begins for one layer": (
        BeginsForOneLayer, ("2x5x8",), ["pass hx[0].repeat(2, 1, 1) to lstm and pass hx[1].repeat(2, 1, 1) to lstm"],
    ),
    "five heads": (FiveHeads, ("2x6x32",), ["set num_heads=4 in mha", "set num_heads=2 in mha"]),
    "squeezes all": (SqueezesAll, ("1x3x6x6",), ["call Tensor.squeeze in line N with dim=(2, 3)"]),
    "transforms to complex": (TransformsToComplex, ("2x8",), ["pass input.abs() to fc"]),
    "hides keys": (HidesKeys, ("2x6x8",), ["set batch_first=True in mha"]),
    "attends to wider": (
        AttendsToWider, ("2x5x8", "2x7x12"),
        ["set kdim=12 in cross and vdim=12 in cross", "give the model others of 2×7×8"],
    ),
    "stacks branches": (StacksBranches, ("2x3x9x9",), ["set padding=2 in wide"]),
    "takes each level": (
        TakesEachLevel, ("2x3x24x24",),
        [
            "set in_channels=4 in sides.0 and in_channels=8 in sides.1 and in_channels=12 in sides.2",
            "set in_channels=4 in sides.0 and in_channels=8 in sides.1 and out_channels=8 in levels.2",
        ],
    ),
    "turns for recurrence": (TurnsForRecurrence, ("2x6x5",), ["give the model x.transpose(1, 2)"]),
    "views keys like queries": (
        ViewsKeysLikeQueries, ("2x5x8", "2x7x8"),
        [" and ".join(["call Tensor.view in line N with (x.shape[0], x.shape[1], 2, -1)"] * 2)],
    ),
    "gathers one": (
        GathersOne, ("6x4", "6:int64:0..3"),
        ["give the model actions.unsqueeze(1)", "apply .unsqueeze(1) to the second operand of Tensor.gather in line N"],
    ),
    "takes an object": (TakesAnObject, ("2x3x4",), ["pass input.features to head"]),
    "takes a dictionary": (lambda: TakesAnObject(by_name), ("2x3x4",), ["pass input['features'] to head"]),
    "adds positions from two": (
        AddsPositionsFromTwo, ("2x12:int64:0..50",),
        ["give the model ids of 2×8", "set num_embeddings=14 in positions or more"],
    ),
    "before the skip is taken apart": (BeforeTheSkipIsTakenApart, ("2x8x4x4",), []),
}  # fmt: skip
