"""Begin something when a program makes its first module: one that makes none need not pay for what watches models."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

from torch import nn
from torch.compiler import is_dynamo_compiling
from torch.nn.modules.module import Module

from fwdtrace.program.tracebacks import without_our_frames

NAMES = ("__init__", "__setstate__")
"""The methods of `nn.Module` one of which runs where a module is constructed, copied or unpickled."""


class FirstModule:
    """Waits for the first module.

    `begin` is called before it is made, once, with what is in place here taken out again. Where the program has put a
    wrapper of its own around that meanwhile, which has to stay, `learn_of` is called with the module as soon as it is
    made.
    """

    def __init__(self, begin: Callable[[], None], learn_of: Callable[[nn.Module], None]) -> None:
        self._begin: Callable[[], None] | None = begin
        self._learn_of = learn_of
        self._lock = threading.RLock()  # what is begun may make modules
        self._ours: dict[str, tuple[Any, Any]] = {}
        for name in NAMES:
            original = getattr(Module, name)
            self._ours[name] = self._instead_of(name, original), original
            setattr(Module, name, self._ours[name][0])

    def _instead_of(self, name: str, original: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(original)
        def made(module: nn.Module, /, *args: Any, **kwargs: Any) -> None:
            if is_dynamo_compiling():
                return original(module, *args, **kwargs)
            with without_our_frames:
                if self._begin is None:
                    return original(module, *args, **kwargs)
                with self._lock:
                    begin, self._begin = self._begin, None
                    is_ours = Module.__dict__[name] is self._ours[name][0]
                    self._remove()
                    if begin is not None:
                        begin()
                if is_ours:
                    return getattr(Module, name)(module, *args, **kwargs)  # type: ignore[no-any-return]
                original(module, *args, **kwargs)
                return self._learn_of(module)

        return made

    def _remove(self) -> None:
        for name, (ours, original) in self._ours.items():
            if Module.__dict__[name] is ours:
                setattr(Module, name, original)
