"""A device that torch cannot use here is refused in one line; on any other a model is built."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fwdtrace.errors import FwdtraceError
from fwdtrace.models.devices import on_device, usable


@pytest.mark.parametrize("name", ["cpu", "meta"])
def test_a_device_that_is_there_is_given(name: str) -> None:
    assert usable(name) == torch.device(name)


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "vulkan"])
def test_a_device_that_cannot_be_used_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(FwdtraceError) as refused:
        usable(name)
    text = str(refused.value)
    assert text.startswith(f"--device {name}: cannot be used here (")
    assert text.endswith(" or meta") and "; use cpu" in text and "\n" not in text and len(text) < 160
    assert torch.cuda.is_available() or "use cpu or meta" in text


@pytest.mark.parametrize("name", ["cpu", "meta"])
def test_a_model_is_built_on_the_device(name: str) -> None:
    device = torch.device(name)
    assert on_device(device, lambda: nn.Linear(2, 3)).weight.device == device
