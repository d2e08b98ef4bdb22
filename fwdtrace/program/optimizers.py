"""The steps of a program's optimizers, and which models they train."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch.utils.hooks import RemovableHandle

from fwdtrace.program.roots import Roots


class Steps:
    """Calls `before_step` with each optimizer that is about to step, as long as somebody wants to know."""

    def __init__(self, before_step: Callable[..., None]) -> None:
        self._before_step = before_step
        self._hook: RemovableHandle | None = None
        self._roots_awaiting = 0
        self._others: weakref.WeakSet[Any] = weakref.WeakSet()  # optimizers of no root that awaits a step

    def notice(self, wanted: bool = True) -> None:
        """Notice them from now on, or no more."""
        if wanted and self._hook is None:
            self._hook = register_optimizer_step_pre_hook(self._before_step)
        elif not wanted and self._hook is not None:
            self._hook.remove()
            self._hook = None

    def look_for_training(self, optimizer: Any, roots: Roots) -> None:
        """Look at the models again that the optimizer trains, if nobody saw them in training."""
        awaiting = roots.awaiting_a_step()
        if self._roots_awaiting != len(awaiting):
            self._roots_awaiting = len(awaiting)
            self._others.clear()
        if optimizer in self._others:
            return
        trained = [root for root in awaiting if changes(optimizer, root.module())]
        for root in trained:
            roots.stepped(root)
        if not trained:
            self._others.add(optimizer)


def changes(optimizer: Any, model: nn.Module | None) -> bool:
    """Whether the optimizer has parameters of the model."""
    own = {id(each) for each in model.parameters()} if model is not None else set()
    return any(id(each) in own for group in optimizer.param_groups for each in group["params"])
