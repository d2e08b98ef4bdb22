"""By which variable a program holds a model: `model`, `q_network`, found where the model is called."""

from __future__ import annotations

import ast
import linecache
import sys
from types import CodeType, FrameType
from typing import Any

from torch import nn

from fwdtrace.recorder.frames import from_torch

NO_NAMES = ("self", "cls", "module", "super", "forward")
"""Names that say nothing of the model that they hold."""


def name_of_called(top: nn.Module, module: nn.Module, frame: FrameType | None) -> str | None:
    """The variable of the main program that holds the model, else what the calling line calls it; None if neither is.

    `module`, a part of the model or the model itself, is called from `frame` or from torch's code above it. Local
    variables of a frame are not read, as that would keep what they held alive, and change what `locals()` has given.
    """
    main = vars(sys.modules["__main__"]) if "__main__" in sys.modules else {}
    for name, value in list(main.items()):
        if value is top and not name.startswith("_"):
            return name
    while frame is not None and from_torch(frame.f_code):
        frame = frame.f_back
    if frame is None or top is not module:
        return None
    called = _called_at(frame.f_code, frame.f_lasti)
    return None if called in NO_NAMES else called


def _called_at(code: CodeType, instruction: int) -> str | None:
    """The name that is called there, the last one of `self.critic(x)`."""
    for node in ast.walk(_expression_at(code, instruction) or ast.Tuple([])):
        if isinstance(node, ast.Call):
            function: Any = node.func
            return getattr(function, "id", None) or getattr(function, "attr", None)
    return None


def _expression_at(code: CodeType, instruction: int) -> ast.AST | None:
    if sys.version_info < (3, 11):  # its code objects do not tell columns
        return None
    first, last, start, end = list(code.co_positions())[instruction // 2]
    if first is None or last is None or start is None or end is None:
        return None
    lines = [linecache.getline(code.co_filename, line).encode() for line in range(first, last + 1)]
    if not all(lines):
        return None
    lines[-1] = lines[-1][:end]
    lines[0] = lines[0][start:]
    try:
        return ast.parse(b"".join(lines).decode().strip(), mode="eval")
    except (SyntaxError, ValueError):
        return None
