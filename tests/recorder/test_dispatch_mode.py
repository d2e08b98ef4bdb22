"""What all dispatch modes have in common."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from fwdtrace.recorder.dispatch_mode import DispatchMode


def passes(self: object, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
    return function(*args, **(kwargs or {}))


def test_torch_puts_nothing_of_its_compiler_around_a_mode_of_ours() -> None:
    # torch wraps what other modes do at an operation, and at the first one the wrapper imports the compiler.
    ours: Any = type("Ours", (DispatchMode,), {"__torch_dispatch__": passes})
    usual: Any = type("Usual", (TorchDispatchMode,), {"__torch_dispatch__": passes})
    assert ours.__torch_dispatch__ is passes
    assert usual.__torch_dispatch__ is not passes
    with ours():
        assert torch.ones(2).sum() == 2
