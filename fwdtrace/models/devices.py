"""The device that `--device` names: whether torch can use it here, and building a model on it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

import torch

from fwdtrace.errors import FwdtraceError
from fwdtrace.models.meta import built_on_meta

Built = TypeVar("Built")


def usable(name: str) -> torch.device:
    """The device of this name; FwdtraceError if there is none, or if torch cannot use it on this machine."""
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # torch without CUDA asserts
        said = (str(error).splitlines() or [type(error).__name__])[0].partition(". ")[0]
        kinds = re.search(r"Expected one of (.*) device type at start of device string", said)
        said = "torch has no such kind of device" if kinds else said
        raise FwdtraceError(f"--device {name}: cannot be used here ({said}); use {_devices_here()}") from None
    return device


def _devices_here() -> str:
    """The devices that can be used on this machine: `cpu, meta, cuda or cuda:N`."""
    found = [name for name in ("cuda", "mps", "xpu") if getattr(torch, name).is_available()]
    return " or ".join([", ".join(["cpu", *found]), "meta"])


def on_device(device: torch.device, build: Callable[[], Built]) -> Built:
    """Build with this device as torch's default, so that no tensor is made on another one first."""
    if device.type == "cpu":
        return build()
    if device.type == "meta":
        return built_on_meta(build)
    with device:
        return build()
