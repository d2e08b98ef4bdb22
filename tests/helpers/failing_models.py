"""Small models, each failing in the way that its name says; each takes a 2×4 float tensor."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from tests.helpers.awkward_models import HasALayer


class Raises(nn.Module):
    """A module that always raises ValueError."""

    def forward(self, x: Tensor) -> Tensor:
        raise ValueError("no such luck")


class CatchesAnError(nn.Module):
    """A child that raises, and a parent that catches the error and calls another layer."""

    def __init__(self) -> None:
        super().__init__()
        self.broken = Raises()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        try:
            return self.broken(x)
        except ValueError:
            return self.layer(x)


class RaisesBelow(nn.Module):
    """A child that raises, and no parent that catches the error."""

    def __init__(self) -> None:
        super().__init__()
        self.broken = nn.Sequential(nn.ReLU(), Raises())

    def forward(self, x: Tensor) -> Tensor:
        return self.broken(x)


class Interrupted(nn.Module):
    """A module during which the user presses Ctrl-C."""

    def forward(self, x: Tensor) -> Tensor:
        raise KeyboardInterrupt


class PreHookRaises(HasALayer):
    """A layer whose pre-hook raises ValueError; the model goes on without it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer.register_forward_pre_hook(raise_an_error)
        self.other = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        try:
            return self.layer(x)
        except ValueError:
            return self.other(x)


class HookRaises(HasALayer):
    """A layer whose forward hook raises ValueError, after its `forward` has returned."""

    def __init__(self) -> None:
        super().__init__()
        self.layer.register_forward_hook(raise_an_error)
        self.other = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        try:
            return self.layer(x)
        except ValueError:
            return self.other(x)


def raise_an_error(*_: Any) -> None:
    """A hook that raises ValueError."""
    raise ValueError("a hook's")


class CleansUpAfterAnInterrupt(nn.Module):
    """A Ctrl-C in a child, after which another child is called on the way out."""

    def __init__(self) -> None:
        super().__init__()
        self.child = Interrupted()
        self.cleaner = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        try:
            return self.child(x)
        finally:
            self.cleaner(x)
