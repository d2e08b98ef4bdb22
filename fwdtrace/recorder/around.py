"""What is around a run and may change its numbers: versions, variables of the environment, settings of torch, seeds."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from operator import attrgetter
from typing import Any

import torch
from torch import backends

from fwdtrace.recorder.measures.keeper import digest_in_memory
from fwdtrace.recorder.torch_internals import Unseen
from fwdtrace.trace import Value

_PREFIXES = (
    *("ATEN_", "CUBLAS", "CUDA_", "CUDNN_", "DNNL_", "FLASH_ATTENTION_", "GOMP_", "HIP_", "HSA_", "KMP_", "MIOPEN_"),
    *("MKL_", "NCCL_", "NVIDIA_TF32_", "OMP_", "ONEDNN_", "OPENBLAS_", "PYTORCH_", "ROCBLAS_", "TORCH", "TRITON_"),
)
_NAMES = ("PYTHONHASHSEED", "XLA_FLAGS")
"""The variables that libraries of numbers read; those with one of the prefixes are of such a library too."""
_NO_MATTER = ("HOME", "PATH", "DIR", "CACHE", "LOGS", "FILE", "TOKEN", "KEY", "SECRET", "PASSWORD", "_ID", "PORT")
"""How the names of those variables end that say where things are, or that are nobody's business."""
_OF_TORCHRUN = ("TORCHELASTIC_", "TORCH_NCCL_ASYNC_ERROR_HANDLING")
"""What torchrun sets for each of its processes, and no number depends on."""
_LIBRARIES = (
    *("numpy", "triton", "flash_attn", "xformers", "transformers", "torchvision", "timm", "accelerate", "deepspeed"),
    *("bitsandbytes", "apex", "transformer_engine", "peft", "torchao", "lightning"),
)
_SWITCHES = (
    *("backends.fp32_precision", "backends.cuda.matmul.fp32_precision", "backends.cudnn.conv.fp32_precision"),
    *("backends.mkldnn.matmul.fp32_precision", "backends.mkldnn.enabled", "backends.mkldnn.deterministic"),
    *("backends.cudnn.enabled", "backends.cudnn.deterministic", "backends.cudnn.benchmark"),
    "backends.cuda.matmul.allow_fp16_reduced_precision_reduction",
    "backends.cuda.matmul.allow_bf16_reduced_precision_reduction",
)
_LEGACY_SWITCHES = ("backends.cuda.matmul.allow_tf32", "backends.cudnn.allow_tf32")
"""What older versions of torch have for `fp32_precision`; newer ones warn where they are read."""
_QUESTIONS = (
    *("get_default_dtype", "get_num_threads", "get_num_interop_threads", "initial_seed", "is_inference_mode_enabled"),
    *("get_float32_matmul_precision", "are_deterministic_algorithms_enabled"),
    *("backends.cpu.get_cpu_capability", "backends.cuda.flash_sdp_enabled", "backends.cuda.math_sdp_enabled"),
    *("backends.cuda.mem_efficient_sdp_enabled", "backends.cuda.cudnn_sdp_enabled"),
)
"""Functions of torch without arguments, whose answers are recorded."""
_NO_ANSWER = (AttributeError, RuntimeError)
"""What torch raises that has no such setting, or two that contradict each other."""


def around_run(device: str) -> tuple[Value, ...]:
    """What is set now for a run on this device, by the names that a user knows it by; nothing is changed by asking."""
    return tuple(
        Value(name, str(value)[:200])
        for name, value in (
            *_versions(),
            *_variables(os.environ),
            *_settings(),
            *_autocast({"cpu", device.partition(":")[0]}),
            *_processes(),
            ("random state", _random_state()),
        )
    )


def _versions() -> Iterator[tuple[str, Any]]:
    yield "machine", f"{platform.system()} {platform.machine()}"
    yield "torch", torch.__version__
    yield from ((f"torch.version.{name}", found) for name in ("cuda", "hip") if (found := getattr(torch.version, name)))
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]  # to ask earlier would begin the work with the device
        yield "torch.cuda.get_device_name()", torch.cuda.get_device_name()
        yield "torch.backends.cudnn.version()", backends.cudnn.version()  # type: ignore[no-untyped-call]
    for name in _LIBRARIES:
        version = getattr(sys.modules.get(name), "__version__", None)
        if isinstance(version, str):
            yield name, version


def _variables(environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name in sorted(environment):
        if name.startswith(_OF_TORCHRUN) or name.endswith(_NO_MATTER):
            continue
        if name.startswith(_PREFIXES) or name in _NAMES:
            yield name, environment[name]


def _settings() -> Iterator[tuple[str, Any]]:
    switches = _SWITCHES if hasattr(backends, "fp32_precision") else (*_SWITCHES, *_LEGACY_SWITCHES)
    for name in switches:
        with suppress(*_NO_ANSWER):
            yield f"torch.{name}", attrgetter(name)(torch)
    for name in _QUESTIONS:
        with suppress(*_NO_ANSWER):
            yield f"torch.{name}()", attrgetter(name)(torch)()


def _autocast(devices: set[str]) -> Iterator[tuple[str, Any]]:
    for device in sorted(devices):
        with suppress(*_NO_ANSWER):
            enabled = torch.is_autocast_enabled(device)
            yield f"autocast on {device}", torch.get_autocast_dtype(device) if enabled else "off"


def _processes() -> Iterator[tuple[str, Any]]:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        yield "processes", torch.distributed.get_world_size()
        yield "torch.distributed.get_backend()", torch.distributed.get_backend()


def _random_state() -> str:
    with Unseen():
        state = torch.get_rng_state()  # an op on it would be one of `torch.func.grad`, if that runs around the call
    return digest_in_memory(state).hex()
