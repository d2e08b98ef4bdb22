"""The steps of a program's optimizers, and which models they train."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch.utils.hooks import RemovableHandle

from fwdtrace.program.roots import Roots
from fwdtrace.recorder.measures.values import has_values
from fwdtrace.trace import Value

_NO_SETTINGS = ("params", "param_names", "initial_lr")
"""What a group of parameters holds beside what an optimizer is set to."""


class StepWatch:
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


def settings_of(optimizer: Any) -> Iterator[Value]:
    """The class of an optimizer, and what it is set to: for each setting the values of its groups."""
    yield Value("optimizer", type(optimizer).__name__)
    for name in dict.fromkeys(name for group in optimizer.param_groups for name in group):
        if name not in _NO_SETTINGS:
            texts = dict.fromkeys(_text(group[name]) for group in optimizer.param_groups if name in group)
            yield Value(f"optimizer {name}", ", ".join(texts)[:200])


def _text(value: Any) -> str:
    """A setting in words; a learning rate may be a tensor, so that it can change inside of a graph."""
    if isinstance(value, Tensor):
        return repr(value.item()) if value.numel() == 1 and has_values(value) else "a tensor"
    return repr(value) if isinstance(value, (bool, int, float, str, tuple, list, type(None))) else type(value).__name__
