"""Trying: what counts as working, in which order, within which bounds, and that nothing is left behind."""

from __future__ import annotations

import io
import sys
import warnings
from time import perf_counter
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fwdtrace.errors import ModelError
from fwdtrace.findings.forward_error.changes import Built, Given, PassedTo, Proposal, Step
from fwdtrace.models.randomness import random_state
from fwdtrace.models.spec import Inputs
from fwdtrace.run.once import ReadyModel, RunPlan, run_once
from fwdtrace.trace import Fix
from fwdtrace.trials import same_crash, search
from tests.helpers.advice import Broken, broken, working
from tests.trials.sequences import HidesKeys
from tests.trials.table import BeforeTheSkipIsTakenApart, FlattensTheBatch


class Talks(nn.Module):
    """A broken model that prints, warns, draws numbers, counts, and writes into its argument and its buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 6), nn.Linear(5, 2)
        self.register_buffer("seen", torch.zeros(()))
        self.calls = 0

    def forward(self, x: Tensor) -> Any:
        print("hello")
        print("hello", file=sys.stderr)
        warnings.warn("careful", stacklevel=1)
        self.calls += 1
        self.seen += 1
        x += torch.rand(())
        return self.second(self.first(x))


class CallsBack(nn.Module):
    """A broken model that tells somebody of each of its calls, through a hook."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 6), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Any:
        return self.second(self.first(x))


class ReadsAValue(nn.Module):
    """A broken model that reads a number from a tensor on its way, and has a tensor that is registered nowhere."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last, self.scale = nn.Linear(4, 6), nn.Linear(5, 2), torch.ones(6)

    def forward(self, x: Tensor) -> Any:
        x = self.first(x) * self.scale
        return self.last(x * x.abs().sum().item())


def test_nothing_is_left_of_trying(capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        case = broken(Talks(), "3x4")
    model: Any = case.model
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    argument = case.inputs.args[0].clone()
    capsys.readouterr()
    state, modules = random_state(), list(model.modules())
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        assert case.finding.fixes
    assert random_state().same_as(state)
    assert capsys.readouterr() == ("", "") and warned == []
    assert model.calls == 1 and list(model.modules()) == modules
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(case.inputs.args[0], argument)
    assert all(not module._forward_hooks and not module._forward_pre_hooks for module in modules)


def test_a_change_that_runs_but_mixes_the_examples_does_not_work() -> None:
    case = broken(FlattensTheBatch(), "2x3x8x8")
    wider = Proposal((Built("fc", "in_features", 512),), 1.0)
    assert working(case, [wider]) == ()


def test_a_change_that_has_examples_look_at_each_other_does_not_work() -> None:
    case = broken(HidesKeys(), "2x6x8")
    turned = Proposal((PassedTo("mha", 3, "key_padding_mask", (Step("transpose", (0, 1)),)),), 1.0)
    assert working(case, [turned]) == ()


def test_without_memory_no_step_puts_another_dimension_in_place_of_the_examples(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(same_crash, "LARGEST_COPY", 0)
    test_a_change_that_has_examples_look_at_each_other_does_not_work()


def test_what_fails_again_in_the_part_that_raised_is_not_tried_on_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    class Deep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.before = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4))
            self.block = nn.Sequential(nn.Linear(6, 6), nn.Linear(5, 3))

        def forward(self, x: Tensor) -> Any:
            ran.append(x.shape)
            return self.block(self.before(x))

    ran: list[Any] = []
    counts = []
    for quick in (0.0, 60.0):
        monkeypatch.setattr(same_crash, "QUICK", quick)
        case = broken(Deep(), "2x4")
        ran.clear()
        assert [fix.text for fix in case.finding.fixes] == [
            "set in_features=4 in block.0 and in_features=6 in block.1",
            "set out_features=6 in before.2 and in_features=6 in block.1",
        ]
        counts.append(len(ran))
    assert counts[0] < counts[1]


def test_a_change_that_only_moves_the_crash_does_not_work() -> None:
    case = broken(BeforeTheSkipIsTakenApart(), "2x8x4x4")
    wider = Proposal((Built("norm", "num_channels", 16),), 1.0)
    assert working(case, [wider]) == ()


def test_a_change_that_cannot_be_made_does_not_work() -> None:
    case = broken(CallsBack(), "3x4")
    changes = Built("nowhere", "in_features", 4), Built("first", "no_such_argument", 4), Given("no_such_argument", (1,))
    proposals = [Proposal((change,), 1.0) for change in changes]
    assert working(case, proposals) == ()


def test_fixes_are_in_the_finding_and_in_its_message() -> None:
    finding = broken(CallsBack(), "3x4").finding
    assert finding.fixes == (
        Fix("set in_features=6 in second", True, ((3, 2),)),
        Fix("set out_features=5 in first", True, ((3, 2),)),
    )
    assert finding.message.endswith(
        "; set in_features=6 in second (tried: the model then gives 3×2), or set out_features=5 in first (tried: the"
        " model then gives 3×2)"
    )


def test_a_large_model_is_tried_without_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(same_crash, "LARGEST_COPY", 0)
    assert [fix.outputs for fix in broken(FlattensTheBatch(), "2x3x8x8").finding.fixes] == [((2, 5),)]


def test_a_model_without_memory_is_tried_without_memory() -> None:
    with torch.device("meta"):
        model = FlattensTheBatch()
        case = broken(model, "2x3x8x8")
    meta = Broken(case.model, case.inputs, case.trace)
    assert meta.finding.fixes[0].text.endswith("with start_dim=1")


def test_a_large_model_that_the_meta_device_cannot_run_is_tried_with_fake_tensors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(same_crash, "LARGEST_COPY", 0)
    assert broken(ReadsAValue(), "3x4").finding.fixes == (Fix("set in_features=6 in last", True, ((3, 2),)),)


def test_a_model_without_memory_is_tried_with_fake_tensors_if_it_ran_on_them() -> None:
    with torch.device("meta"):
        ready = ReadyModel(ReadsAValue(), Inputs((torch.ones(3, 4),), {}), on_meta=True, loss=None)
    result = run_once(RunPlan("m.py:M"), ready)
    assert type(result.error) is ModelError
    (finding,) = result.trace.findings
    assert finding.message.startswith("last (Linear) expects 5 features, got 6")
    assert finding.fixes == (Fix("set in_features=6 in last", True, ((3, 2),)),)


def test_what_gives_sizes_that_depend_on_values_does_not_work_where_there_are_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Picks(ReadsAValue):
        def forward(self, x: Tensor) -> Any:
            return super().forward(x)[x[:, 0] > 0]

    monkeypatch.setattr(same_crash, "LARGEST_COPY", 0)
    assert broken(Picks(), "3x4").finding.fixes == ()


def test_a_model_that_cannot_be_copied_gets_no_advice() -> None:
    model: Any = CallsBack()
    model.stream = io.StringIO()
    model.generator = (each for each in "ab")
    assert broken(model, "3x4").finding.fixes == ()


def test_a_crash_that_does_not_come_again_gets_no_advice() -> None:
    class Once(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.before = nn.Linear(4, 2), False

        def forward(self, x: Tensor) -> Any:
            was, self.before = self.before, True
            return self.fc(x if was else x[:, :3])

    assert broken(Once(), "3x4").finding.fixes == ()


def test_trying_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[int] = []

    class Slow(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(11, 2)

        def forward(self, x: Tensor) -> Any:
            runs.append(1)
            until = perf_counter() + 0.05
            while perf_counter() < until:
                pass
            return self.fc(self.conv(x).flatten(1))[:, :, None]  # an output with a row for each, and never reached

    def runs_of_trying(seconds: float) -> int:
        monkeypatch.setattr(search, "SECONDS", seconds)
        case = broken(Slow(), "2x3x9x9")
        runs.clear()
        assert case.finding.code == "FT006"
        return len(runs)

    assert runs_of_trying(0) < 3 < 10 < runs_of_trying(30)


def test_a_trial_that_does_not_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.step = nn.Linear(4, 6), nn.Linear(5, 2), nn.Identity()

        def forward(self, x: Tensor) -> Any:
            x = self.second(self.first(x))
            while True:
                try:
                    x = self.step(x)
                except Exception:  # what ends the trial is none that a model catches
                    continue

    monkeypatch.setattr(search, "SECONDS", 0.1)
    called = nn.Module.__call__
    assert broken(Endless(), "3x4").finding.fixes == ()
    assert nn.Module.__call__ is called


def test_ctrl_c_ends_the_trials() -> None:
    class Interrupted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.calls = nn.Linear(5, 2), 0

        def forward(self, x: Tensor) -> Any:
            self.calls += 1
            if self.calls == 2:
                raise KeyboardInterrupt
            return self.fc(x)

    case = broken(Interrupted(), "3x4")
    with pytest.raises(KeyboardInterrupt):
        assert case.finding
    model: Any = Interrupted()
    ready = ReadyModel(model, case.inputs, on_meta=False, loss=None)
    result = run_once(RunPlan("m.py:M"), ready)
    assert [finding.fixes for finding in result.trace.findings] == [()]


def test_an_index_beyond_all_reason_builds_no_table(capsys: pytest.CaptureFixture[str]) -> None:
    class Looks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(10, 4)

        def forward(self, ids: Tensor) -> Any:
            return self.table(ids * 10**12)

    finding = broken(Looks(), "2x3:int64:1..2").finding
    assert "got 1000000000000, at input[0, 0]" in finding.message and finding.fixes == ()
