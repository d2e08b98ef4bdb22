"""Small models, each calling or passing values in the way that its name says; each takes a 2×4 float tensor."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class Chain(nn.Module):
    """Two layers, one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.second = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x))


class CallsTwice(nn.Module):
    """One layer called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(self.layer(x))


class HasTwoNames(nn.Module):
    """One layer registered under two names and called through the second."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 4)
        self.tied = self.head

    def forward(self, x: Tensor) -> Tensor:
        return self.tied(x)


class CallsDirectly(nn.Module):
    """The second of two layers run through its `forward`."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.second = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.second.forward(self.first(x))


class CallsThroughTheClass(nn.Module):
    """A layer run as `Class.forward(layer, x)`."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return nn.Linear.forward(self.layer, x)


class CallsACapturedForward(nn.Module):
    """A layer run through a bound `forward` that was taken when the model was built."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.steps = [self.layer.forward]

    def forward(self, x: Tensor) -> Tensor:
        return self.steps[0](x)


class DirectWithinDirect(nn.Module):
    """A direct call of a container whose own layers are called normally."""

    def __init__(self) -> None:
        super().__init__()
        self.block = Chain()

    def forward(self, x: Tensor) -> Tensor:
        return self.block.forward(x)


class CallsThroughAMethod(nn.Module):
    """A child's method, neither `__call__` nor `forward`, that calls one of its layers."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()

    def forward(self, x: Tensor) -> Tensor:
        return self.encoder.encode(x)


class Encoder(nn.Module):
    """A layer behind `encode`; `forward` is never run."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def encode(self, x: Tensor) -> Tensor:
        """Run the layer."""
        return self.layer(x)


class CallsSuper(Chain):
    """A `forward` that runs the `forward` of its base class."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + 1


class CallsItsBase(Chain):
    """A `forward` that runs the `forward` of its base class by name."""

    def forward(self, x: Tensor) -> Tensor:
        return Chain.forward(self, x) + 1


def twice(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A decorator that runs a `forward` and adds its result to itself."""

    @functools.wraps(forward)
    def doubled(self: nn.Module, *args: Any, **kwargs: Any) -> Tensor:
        result = forward(self, *args, **kwargs)
        return result + result

    return doubled


class Decorated(Chain):
    """A `forward` behind a decorator that another `forward` of the same object shares."""

    @twice
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)


class DecoratedTwice(Decorated):
    """A decorated `forward` over a decorated `forward`: both wrappers share their code."""

    @twice
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)


class DecoratedByNoGrad(nn.Module):
    """A `forward` and another method behind torch's own decorator, which gives both the same code."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    @torch.no_grad()
    def prepare(self, x: Tensor) -> Tensor:
        """Run the layer."""
        return self.layer(x)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        return self.prepare(x)


class Recurses(nn.Module):
    """A module that calls itself until its `depth` is used up."""

    def __init__(self, depth: int = 3) -> None:
        super().__init__()
        self.depth = depth

    def forward(self, x: Tensor, level: int = 0) -> Tensor:
        return x if level == self.depth else self(x, level + 1)


class RecursesDirectly(nn.Module):
    """A module that runs its own `forward` until its `depth` is used up."""

    def __init__(self, depth: int = 2) -> None:
        super().__init__()
        self.depth = depth

    def forward(self, x: Tensor, level: int = 0) -> Tensor:
        return x if level == self.depth else self.forward(x, level + 1)


class OverridesCall(nn.Module):
    """A layer whose class runs `forward` from a `__call__` of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = OwnCall()

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


class OwnCall(nn.Linear):
    """A linear layer, 4 to 4, that skips torch's `__call__`."""

    def __init__(self) -> None:
        super().__init__(4, 4)

    def __call__(self, x: Tensor) -> Tensor:
        return self.forward(x)


class ExtendsCall(Chain):
    """A `__call__` that changes its argument and passes it on to torch's."""

    def __call__(self, x: Tensor) -> Tensor:
        return super().__call__(x * 2)


class UsesUnregistered(nn.Module):
    """Layers in a plain list, and one made anew in every forward: none of them in the tree."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = [nn.Linear(4, 4), nn.ReLU()]

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return nn.Softmax(dim=-1)(x)


class SwapsALayer(nn.Module):
    """A layer that is replaced by a new one during forward, then called."""

    def __init__(self) -> None:
        super().__init__()
        self.layer: nn.Module = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        self.layer = nn.ReLU()
        return self.layer(x)


class NestedLayers(nn.Module):
    """Blocks in a `ModuleList` in a `ModuleDict`."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleDict({"blocks": nn.ModuleList([Chain(), Chain()])})

    def forward(self, x: Tensor) -> Tensor:
        return sum((block(x) for block in self.parts["blocks"]), start=torch.zeros(1))


class Pair(NamedTuple):
    """Two tensors with names."""

    left: Tensor
    right: Tensor


@dataclass
class Output:
    """A result that is a dataclass."""

    logits: Tensor
    hidden: tuple[Tensor, ...]
    note: str | None = None


class TakesEverything(nn.Module):
    """Positional, keyword, starred and nested arguments."""

    def forward(
        self, x: Tensor, *rest: Any, mask: Tensor | None = None, scale: float = 1.0, **others: Any
    ) -> dict[str, Any]:
        return {"x": x * scale, "pair": Pair(x, x[:1]), "rest": rest, "mask": mask, "others": others}


class CallsTakesEverything(nn.Module):
    """A call with positional, keyword and nested arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.taker = TakesEverything()

    def forward(self, x: Tensor) -> dict[str, Any]:
        return self.taker(x, [x, {"y": x[0]}], mask=x > 0, extra=(x, None))


class ReturnsADataclass(nn.Module):
    """A dataclass of tensors as the result."""

    def forward(self, x: Tensor) -> Output:
        return Output(x, (x, x[:1]))


class ReturnsNothing(nn.Module):
    """None as the result."""

    def forward(self, x: Tensor) -> None:
        x.sum()


class CallsNothingReturned(nn.Module):
    """A child that returns None."""

    def __init__(self) -> None:
        super().__init__()
        self.silent = ReturnsNothing()

    def forward(self, x: Tensor) -> Tensor:
        self.silent(x)
        return x
