"""A small model recorded in one line, and its calls as short rows that a test compares."""

from __future__ import annotations

from typing import Any

import torch

import fwdtrace
from fwdtrace.trace import Trace


def recorded(model: Any, *args: Any, **options: bool) -> Trace:
    """The trace of `model(*args)` without gradients; `options` are those of `fwdtrace.record`."""
    with fwdtrace.record(model, **options) as recording, torch.no_grad():  # type: ignore[arg-type]
        model(*args)
    return recording.trace


def entries(trace: Trace) -> list[tuple[str | None, str]]:
    """Path and entry of each call."""
    return [(call.path, call.entry) for call in trace.calls]


def rows(trace: Trace) -> list[str]:
    """One line a call: indentation by depth, path, number, entry."""
    return [f"{'  ' * call.depth}{call.path} #{call.nth} {call.entry}" for call in trace.calls]
