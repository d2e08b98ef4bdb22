"""What recording asks of torch's accelerators is there, and asking for none begins none."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch

from fwdtrace.recorder.accelerators import TORCHS, devices_in
from fwdtrace.trace import TensorMeta, Value


@pytest.mark.parametrize("module", [torch.cuda, torch.xpu] if hasattr(torch, "accelerator") else [torch.cuda])
def test_torch_has_what_is_asked_of_a_kind_of_device(module: Any) -> None:
    names = ("device", "is_initialized", "memory_stats", "reset_peak_memory_stats", "get_rng_state_all")
    assert [name for name in names if not hasattr(module, name)] == []
    assert callable(torch.cuda.is_current_stream_capturing)


@pytest.mark.skipif(not hasattr(torch, "accelerator"), reason="torch before 2.6 has events of CUDA alone")
def test_torch_has_events_for_any_kind_of_device() -> None:
    event = torch.Event(torch.device("meta"), enable_timing=True)
    assert all(hasattr(event, name) for name in ("record", "query", "elapsed_time"))
    assert callable(torch.accelerator.current_stream) and callable(torch.accelerator.synchronize)


def test_a_recording_begins_to_use_no_device() -> None:
    code = """
import torch, fwdtrace
from fwdtrace.models.randomness import random_state
for module in (torch.cuda, torch.xpu):
    module._lazy_init = module.is_available = lambda: print("asked")
model = torch.nn.Linear(2, 2)
with fwdtrace.record(model, costs=True):
    model(torch.ones(1, 2))
random_state().restore()
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == ""


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="MPS does not say whether it is in use")
def test_a_machine_without_accelerators_has_none() -> None:
    if torch.cuda.is_initialized() or torch.xpu.is_initialized():
        pytest.skip("there is one")
    assert TORCHS.kind() is None


def test_the_devices_of_a_kind_are_told_from_others() -> None:
    leaves = [
        *(TensorMeta("", (1,), "float32", device) for device in ("cpu", "cuda:1", "cuda:0", "cuda:1", "meta")),
        Value("", "cuda:2"),
    ]
    assert devices_in(leaves, "cuda") == {"cuda:0", "cuda:1"}
    assert devices_in(leaves, "xpu") == set()
