"""Who wrote into what modules hold: by ops that are not shown, and by kernels whose writes torch does not count."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fwdtrace
from fwdtrace.recorder.written import writes_in_place
from tests.helpers.flows import Net, flow, recorded, said

MODES = [torch.enable_grad, torch.no_grad, torch.inference_mode]


class Counts(nn.Module):
    """A leaf of the user's: its ops have no rows."""

    def __init__(self, *, raises: bool = False) -> None:
        super().__init__()
        self.register_buffer("steps", torch.zeros(4))
        self.register_buffer("never", torch.zeros(4))
        self.scale = nn.Parameter(torch.ones(4))
        self.raises = raises

    def forward(self, x: Tensor) -> Tensor:
        self.steps += 1
        with torch.no_grad():
            self._scale()
        return x * 1.0

    def _scale(self) -> None:
        self.scale.mul_(2.0)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("check_finite", [False, True])
def test_what_a_leaf_of_the_users_writes_into_its_own_was_changed_by_its_call(mode: Any, check_finite: bool) -> None:
    class Reads(Net):
        def __init__(self) -> None:
            super().__init__()
            self.counts = Counts()

        def forward(self, x: Tensor) -> Any:
            y = self.counts(x)
            return y + self.counts.steps + self.counts.never + self.counts.scale

    model = Reads()
    with mode(), fwdtrace.record(model, ops=True, check_finite=check_finite) as recording:
        model(torch.ones(2, 4))
    call, writers = recording.trace.at("counts")[0].id, recording.trace.ops or ()
    steps, scale = (
        next(op.id for op in writers if op.name == name) if check_finite else call for name in ("+=", "Tensor.mul_")
    )
    read = [said(op.inputs[1]) for op in writers[-3:]]
    assert read == [f"buffer counts.steps !{steps}", "buffer counts.never", f"parameter counts.scale !{scale}"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("training", [False, True])
def test_the_statistics_of_norms_were_changed_by_them_in_training(mode: Any, training: bool) -> None:
    class Norms(Net):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.other = nn.BatchNorm1d(4), nn.InstanceNorm1d(4, track_running_stats=True)

        def forward(self, x: Tensor) -> Any:
            y = self.norm(x)
            self.other(y.t()[None])
            F.batch_norm(y, self.norm.running_mean, self.norm.running_var, training=self.training)
            y = y + self.norm.running_mean + self.norm.num_batches_tracked
            return y + self.other.running_var + self.other.num_batches_tracked

    with mode():
        lines = flow(recorded(Norms().train(training), torch.ones(2, 4)))
    changed = (lambda row: f" !{row}") if training else (lambda row: "")
    assert lines[5:] == [
        f"5 F.batch_norm(1.0, buffer norm.running_mean{changed(1)}, buffer norm.running_var{changed(1)}) -> 5.0",
        f"6 +(1.0, buffer norm.running_mean{changed(5)}) -> 6.0",
        f"7 +(6.0, buffer norm.num_batches_tracked{changed(1)}) -> 7.0",
        f"8 +(7.0, buffer other.running_var{changed(4)}) -> 8.0",
        "9 +(8.0, buffer other.num_batches_tracked) -> 9.0",
    ]


def test_what_was_written_before_a_leaf_ran_was_not_changed_by_it() -> None:
    class Reads(Net):
        def __init__(self) -> None:
            super().__init__()
            self.gives = Gives()

        def forward(self, x: Tensor) -> Any:
            return self.layer(x) + self.gives(x)

    class Gives(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("state", torch.zeros(4))

        def forward(self, x: Tensor) -> Any:
            return self.state

    model = Reads()
    with torch.no_grad(), fwdtrace.record(model, ops=True) as recording:
        model(torch.ones(2, 4))
        model.gives.state.add_(1.0)
        model(torch.ones(2, 4))
    assert flow(recording.trace)[-1] == "7 +(5.0, buffer gives.state) -> 7.0"


def test_a_leaf_that_puts_another_tensor_in_a_buffer_has_not_written_into_that() -> None:
    class Swaps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("state", torch.zeros(2, 4))

        def forward(self, x: Tensor) -> Tensor:
            self.state = x
            return x * 1.0

    class Reads(Net):
        def __init__(self) -> None:
            super().__init__()
            self.swaps = Swaps()

        def forward(self, x: Tensor) -> Any:
            y = self.layer(x)
            y += 1.0
            return self.swaps(y) + self.swaps.state

    with torch.no_grad():
        assert flow(recorded(Reads(), torch.ones(2, 4)))[-1] == "4 +(3.0, 1.0 !2) -> 4.0"


def test_a_class_names_what_writes_in_place_in_its_forward_or_in_what_that_leads_to() -> None:
    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(4))
            nn.init.ones_(self.weight)

        def forward(self, x: Tensor) -> Tensor:
            return x.detach().requires_grad_() * self.weight

    class Sets(Plain):
        def forward(self, x: Tensor) -> Tensor:
            self.weight.data[0] = 1.0
            return super().forward(x)

    class Inherits(Counts):
        pass

    class Decorated(Plain):
        @torch.no_grad()
        def forward(self, x: Tensor) -> Tensor:
            return next(weight.add_(1.0) for weight in (self.weight,))

    assert [writes_in_place(cls) for cls in (Plain, Sets, Inherits, Decorated)] == [False, True, True, True]


def test_a_recording_may_end_while_a_leaf_runs_that_holds_a_buffer() -> None:
    class Ends(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("state", torch.zeros(4))

        def forward(self, x: Tensor) -> Tensor:
            self.state += 1.0
            recording.__exit__(None, None, None)
            return x * 1.0

    class Holds(Net):
        def __init__(self) -> None:
            super().__init__()
            self.ends = Ends()

        def forward(self, x: Tensor) -> Any:
            return self.ends(x) + self.ends.state

    model = Holds()
    recording = fwdtrace.record(model, ops=True).__enter__()
    assert torch.equal(model(torch.ones(2, 4)), torch.full((2, 4), 2.0))
