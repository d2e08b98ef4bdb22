"""Small models, each in one awkward situation that its name says; each takes a 2×4 float tensor."""

from __future__ import annotations

import copy
import functools
import threading
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tests.helpers.models import Chain


class NeverCalls(nn.Module):
    """A layer that never runs."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.unused = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


class Cyclic(nn.Module):
    """A child that holds its parent as a submodule."""

    def __init__(self) -> None:
        super().__init__()
        self.child = nn.Linear(4, 4)
        self.child.parent = self

    def forward(self, x: Tensor) -> Tensor:
        return self.child(x)


class ReplacedForward(nn.Module):
    """A layer whose `forward` was replaced on the instance, as accelerate does."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.layer.old_forward = self.layer.forward
        self.layer.forward = functools.partial(doubling_forward, self.layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


class ReplacedForwardCalledDirectly(ReplacedForward):
    """A replaced `forward` that is called directly."""

    def forward(self, x: Tensor) -> Tensor:
        return self.layer.forward(x)


def doubling_forward(module: nn.Module, x: Tensor) -> Tensor:
    """Run the `forward` that a module had before, and double its result."""
    result: Tensor = module.old_forward(x)
    return result * 2


class HookCallsForward(nn.Module):
    """A layer whose pre-hook runs its `forward` first."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.layer.register_forward_pre_hook(run_forward_first)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


def run_forward_first(module: nn.Module, args: tuple[Tensor, ...]) -> None:
    """A forward pre-hook that runs the module's `forward`."""
    module.forward(*args)


class HookCallsAnother(nn.Module):
    """A layer whose forward hook calls a second layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.probe = nn.Identity()
        self.layer.register_forward_hook(self.look)

    def look(self, module: nn.Module, args: tuple[Tensor, ...], result: Tensor) -> Tensor:
        """Pass the result through the probe."""
        return self.probe(result)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


class Yields(nn.Module):
    """A generator, not a `forward`, that calls a layer between its steps."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def steps(self, x: Tensor) -> Iterator[Tensor]:
        """The layer's result, twice in a row."""
        for _ in range(2):
            x = self.layer(x)
            yield x

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack(list(self.steps(x)))


class RunsAThread(nn.Module):
    """A layer called from another thread."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        results: list[Tensor] = []
        thread = threading.Thread(target=lambda: results.append(self.layer(x)))
        thread.start()
        thread.join()
        return results[0]


class CopiesALayer(nn.Module):
    """A layer that is deep-copied during forward, and the copy called."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return copy.deepcopy(self.layer)(x)


class Scripted(nn.Module):
    """A child compiled by TorchScript: its layers are not Python any more."""

    def __init__(self) -> None:
        super().__init__()
        self.script = torch.jit.trace(Chain().eval(), torch.ones(2, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.script(x)


class UsesDropout(nn.Module):
    """Batch statistics and random numbers: in train mode each call moves the buffers and the generator."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4)
        self.drop = nn.Dropout(0.5)
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(self.drop(self.norm(x)))


class HasALayer(nn.Module):
    """A layer, 4 to 4, called normally; the base of the modules that call it otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


class Recomputes(HasALayer):
    """A layer that is called again during backward."""

    def forward(self, x: Tensor) -> Tensor:
        return checkpoint(self.layer, x.requires_grad_(self.training), use_reentrant=True)


class RecomputesForward(HasALayer):
    """A layer whose `forward` is run directly, and again during backward."""

    def forward(self, x: Tensor) -> Tensor:
        return checkpoint(self.layer.forward, x.requires_grad_(self.training), use_reentrant=True)


class CallsAGraph(nn.Module):
    """A child rewritten by torch.fx."""

    def __init__(self) -> None:
        super().__init__()
        self.graph = torch.fx.symbolic_trace(Chain())

    def forward(self, x: Tensor) -> Tensor:
        return self.graph(x)


class CallsWithOtherWeights(HasALayer):
    """A layer called with parameters that are not its own."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.func.functional_call(self.layer, {"weight": torch.ones(4, 4)}, (x,))


class CallsVmapped(HasALayer):
    """A layer called under vmap, where it sees one row."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.vmap(self.layer)(x)


class CallsALazyLayer(nn.Module):
    """A layer that learns its size, and changes its class, on the first call."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.LazyLinear(3)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


class CallsByOtherNames(HasALayer):
    """A layer called through each of the functions that `__call__` is made of."""

    def forward(self, x: Tensor) -> Tensor:
        x = nn.Module.__call__(self.layer, x)
        x = self.layer._wrapped_call_impl(x)
        return self.layer._call_impl(x)


class CallsThroughPartial(HasALayer):
    """A layer's `forward` in a `functools.partial`."""

    def forward(self, x: Tensor) -> Tensor:
        return functools.partial(self.layer.forward, input=x)()


class CallsThroughMap(HasALayer):
    """A layer, then its `forward`, called from C."""

    def forward(self, x: Tensor) -> Tensor:
        return next(map(self.layer.forward, map(self.layer, [x])))


class HookChangesTheInput(HasALayer):
    """A pre-hook that takes the first row only, and a hook that takes the first column."""

    def __init__(self) -> None:
        super().__init__()
        self.layer.register_forward_pre_hook(lambda module, args: args[0][:1])
        self.layer.register_forward_hook(lambda module, args, result: result[:, :1])


class GeneratorForward(nn.Module):
    """A child whose `forward` is a generator function, run to its end by the parent."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = YieldingForward()

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack(list(self.steps(x)))


class YieldingForward(HasALayer):
    """A `forward` that yields what its layer returns, twice."""

    def forward(self, x: Tensor) -> Iterator[Tensor]:  # type: ignore[override]
        yield self.layer(x)
        yield self.layer(x)


class MixesIn(nn.Module):
    """A child whose `forward` comes from a class that is no module."""

    def __init__(self) -> None:
        super().__init__()
        self.mixed = Mixed()

    def forward(self, x: Tensor) -> Tensor:
        return self.mixed.forward(self.mixed(x))


class PlainForward:
    """A `forward` outside any module class."""

    def forward(self, x: Tensor) -> Tensor:
        """Double the input."""
        return x * 2


class Mixed(PlainForward, nn.Module):
    """A module that inherits its `forward` from a plain class."""


class CallsForwardOfABase(nn.Module):
    """A module that runs the `forward` of the base class of its child, which names its parameter otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = RenamesItsParameter()

    def forward(self, x: Tensor) -> Tensor:
        return self.layer.run(x)


class RenamesItsParameter(nn.Linear):
    """A `forward` with another name for its parameter than the base class has."""

    def __init__(self) -> None:
        super().__init__(4, 4)

    def forward(self, features: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(features) + 1

    def run(self, features: Tensor) -> Tensor:
        """Leave the addition out."""
        return super().forward(features)
