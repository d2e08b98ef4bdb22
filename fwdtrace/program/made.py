"""Learn of every module that a program constructs, copies or unpickles."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

from torch import nn
from torch.compiler import is_dynamo_compiling
from torch.nn.modules.module import Module

from fwdtrace.program.tracebacks import hide_our_frames
from fwdtrace.recorder.frames import frame_role


def take_out(removals: list[Callable[[], None]]) -> None:
    """Do what takes out something that was put in place, the latest first."""
    while removals:
        removals.pop()()


def notice_modules(
    constructed: Callable[[nn.Module], None], copied: Callable[[nn.Module], None]
) -> Iterator[Callable[[], None]]:
    """Have these called with each module that is constructed or copied from now on; what it gives ends that."""
    for name, then in (("__init__", constructed), ("__setstate__", copied)):
        original = getattr(Module, name)
        setattr(Module, name, _and_then(original, then))
        yield functools.partial(setattr, Module, name, original)


def _and_then(original: Callable[..., None], then: Callable[[nn.Module], None]) -> Callable[..., None]:
    @functools.wraps(original)
    @frame_role("boundary")
    def constructed(module: nn.Module, /, *args: Any, **kwargs: Any) -> None:
        try:
            original(module, *args, **kwargs)
        except BaseException as error:
            hide_our_frames(error)
            raise
        if not is_dynamo_compiling():
            then(module)

    return constructed
