"""Small models made of one forward, run forward and backward under a recording, and what is found about them."""

from __future__ import annotations

import contextlib
import linecache
import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import fwdtrace
from fwdtrace.trace import Finding

Forward = Callable[..., Any]


def net(forward: Forward, **modules: Any) -> nn.Module:
    """A model named Net with this forward and these attributes, from the same random weights each time."""

    def build(module: nn.Module) -> None:
        nn.Module.__init__(module)
        for name, part in modules.items():
            setattr(module, name, part)

    return type("Net", (nn.Module,), {"__init__": build, "forward": forward})()  # type: ignore[no-any-return]


def layer(size_in: int = 4, size_out: int = 4) -> nn.Linear:
    """A linear layer with the same random weights each time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Linear(size_in, size_out)


def images() -> Tensor:
    """Three rows of four numbers, some below 0, the same each time."""
    return torch.tensor([[0.5, -1.0, 2.0, 0.25], [1.0, 1.0, -0.5, -2.0], [-0.25, 0.75, 0.5, 1.5]])


def findings(
    model: nn.Module,
    *args: Any,
    loss: Callable[[Any], Tensor] = torch.sum,
    steps: Callable[..., None] | None = None,
    check_finite: bool = False,
    ops: bool = True,
) -> list[tuple[str, str, str]]:
    """Code, message and line of all that is found of a forward and a backward, or of `steps`, whatever they raise.

    In the messages stands the code of a line in place of its number.
    """
    with (
        contextlib.suppress(RuntimeError, ValueError),
        fwdtrace.record(model, ops=ops, gradients=True, check_finite=check_finite) as recording,
    ):
        if steps is not None:
            steps(model, *args)
        else:
            loss(model(*args)).backward()  # type: ignore[no-untyped-call]
    return [
        (finding.code, _with_code(finding), finding.site.code if finding.site else "")
        for finding in recording.trace.findings
        if finding.code in ("FT005", "FT008", "FT011")
    ]


def _with_code(finding: Finding) -> str:
    """The message with what is written in a line in place of the line's number."""
    file = finding.site.file if finding.site else ""

    def code(match: re.Match[str]) -> str:
        return f"({linecache.getline(file, int(match[1])).strip()})"

    return re.sub(r"\(line (\d+)\)", code, finding.message)
