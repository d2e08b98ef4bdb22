"""What is around a run is recorded as it is when the run begins, and asking for it changes nothing."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

from fwdtrace import record
from fwdtrace.recorder.around import around_run
from fwdtrace.trace import Trace


def around(trace: Trace) -> dict[str, str]:
    return {value.name: value.value for value in trace.run.around}


def recorded() -> Trace:
    model = nn.Linear(2, 2)
    with record(model) as recording:
        model(torch.ones(1, 2))
    return recording.trace


def test_versions_variables_settings_threads_and_seed_are_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.manual_seed(5)
    found = around(recorded())
    assert found["torch"] == torch.__version__
    assert found["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert found["torch.get_num_threads()"] == str(torch.get_num_threads())
    assert found["torch.initial_seed()"] == "5"
    assert found["torch.get_default_dtype()"] == "torch.float32"
    assert found["torch.are_deterministic_algorithms_enabled()"] == "False"
    assert found["autocast on cpu"] == "off"
    assert "processes" not in found


def test_what_the_program_sets_is_seen() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert around(recorded())["autocast on cpu"] == "torch.bfloat16"
    torch.use_deterministic_algorithms(True)
    try:
        assert around(recorded())["torch.are_deterministic_algorithms_enabled()"] == "True"
    finally:
        torch.use_deterministic_algorithms(False)


def test_the_random_state_is_told_apart_by_one_number_that_was_drawn() -> None:
    torch.manual_seed(5)
    first, again = ({value.name: value.value for value in around_run("cpu")} for _ in range(2))
    torch.rand(1)
    later = {value.name: value.value for value in around_run("cpu")}
    assert first == again
    assert {name for name in later if later[name] != first[name]} == {"random state"}


def test_places_secrets_and_what_torchrun_sets_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {
        "TORCH_HOME",
        "CUDA_PATH",
        "PYTORCH_KERNEL_CACHE_PATH",
        "TRITON_TOKEN",
        "HOME",
        "TORCHELASTIC_MAX_RESTARTS",
    }
    for name in names:
        monkeypatch.setenv(name, "x")
    assert not names & set(around(recorded()))


def test_a_setting_that_torch_lacks_or_that_contradicts_another_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def contradicts() -> str:
        raise RuntimeError("mix of the legacy and new APIs")

    monkeypatch.setattr(torch, "get_float32_matmul_precision", contradicts)
    monkeypatch.delattr(torch.backends.cuda, "cudnn_sdp_enabled", raising=False)
    found = around(recorded())
    assert "torch.get_float32_matmul_precision()" not in found
    assert "torch.backends.cuda.cudnn_sdp_enabled()" not in found


def test_nothing_is_warned_of() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        around_run("cpu")


def test_a_model_inside_a_gradient_of_torch_func_is_recorded() -> None:
    def loss(x: torch.Tensor) -> torch.Tensor:
        with record(model) as recording:
            output: torch.Tensor = model(x)
        found.append(recording.trace)
        return output.sum()

    model, x, found = nn.Linear(3, 2), torch.ones(4, 3), list[Trace]()
    assert torch.equal(torch.func.grad(loss)(x), model.weight.sum(0).expand(4, 3))
    assert [len(trace.calls) for trace in found] == [1]
