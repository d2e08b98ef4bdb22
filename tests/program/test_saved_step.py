"""A step that is saved says which command runs it again, or in plain words why there is none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fwdtrace.program.replay import TRANSFORMED
from fwdtrace.program.saved_step import StepToSave
from fwdtrace.program.wanted import Looks
from fwdtrace.program.watch import Watch
from fwdtrace.recorder.recorded import Options
from tests.program.test_events import LOOKS


class Root(nn.Module):
    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.fc = nn.Linear(4, width)

    def forward(self, x: Tensor) -> Tensor:
        return torch.sqrt(self.fc(x).square() * 0)


class Plain(Root):
    def __init__(self) -> None:
        super().__init__()


def said_of(build: Callable[[], nn.Module], folder: Path) -> str | None:
    """What is said of the step in which the gradients of the net are not finite."""
    looks = Looks(nonfinite=True, save_step=str(folder))
    watch = Watch(LOOKS, Options(), lambda kept: False, keep_event=lambda trace: False, looks=looks)
    watch.begin()
    try:
        net = build()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        output = net(torch.ones(2, 4))
        output.sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    finally:
        watch.end()
    return watch.saves.said if watch.saves is not None else None


def test_of_a_class_that_may_be_built_with_arguments_both_commands_are_said(tmp_path: Path) -> None:
    file = tmp_path / "capsule.json"
    saved = f"saved the step, for fwdtrace run {file}"
    other = f"if the Root was built with arguments, for fwdtrace run '{__name__}:Root(…)' --capsule {file}"
    assert said_of(Plain, tmp_path) == saved
    assert said_of(lambda: Root(5), tmp_path) == f"{saved}; {other}"


def test_of_a_call_whose_tensors_are_gone_it_is_said_why_it_is_not_saved(tmp_path: Path) -> None:
    saves = StepToSave(str(tmp_path))
    gone: Any = None
    saves.save(gone, None, "gradients", gone=TRANSFORMED)
    assert saves.said == f"the step could not be saved: {TRANSFORMED}"
    assert not list(tmp_path.iterdir())
