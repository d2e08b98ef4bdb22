"""Elements that are not finite, if asked: which calls and ops gave NaN or infinity, and from which inputs."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor

from fwdtrace.recorder.describe import tensors_of
from fwdtrace.recorder.measures.values import has_values, version_of
from fwdtrace.recorder.notes import OpenCall, OpenOp
from fwdtrace.recorder.session import Session
from fwdtrace.recorder.torch_internals import Unseen
from fwdtrace.trace import NonFinite


class Finiteness:
    """The measure of NaN and infinity. `found` has the calls and ops whose output was not finite."""

    def __init__(self, session: Session) -> None:
        self.found: dict[OpenCall | OpenOp, NonFinite] = {}
        self._spoiled_inputs: set[OpenCall | OpenOp] = set()
        # Tensors found finite, by id, with the version they had: the output of one call is the input of the next.
        self._finite: dict[int, tuple[weakref.ref[Tensor], int]] = {}

    def begins(self, call: OpenCall | OpenOp, args: Any, kwargs: Any) -> None:
        """Look at the inputs."""
        if not all(self._is_finite(tensor) for tensor in tensors_of((args, kwargs))):
            self._spoiled_inputs.add(call)

    def ends(self, call: OpenCall | OpenOp, output: Any) -> None:
        """Look at the output, and at the module's own parameters if the output is not finite."""
        tensors = tensors_of(output)
        if all(self._is_finite(tensor) for tensor in tensors):
            return
        module = call.seen.module() if type(call) is OpenCall else None
        own = module._parameters.items() if module is not None else ()
        parameters = tuple(name for name, parameter in own if parameter is not None and not self._is_finite(parameter))
        nan, inf = (sum(counts) for counts in zip(*map(self._nan_and_inf, tensors), strict=True))
        self.found[call] = NonFinite(nan, inf, call not in self._spoiled_inputs, parameters)

    def stop(self) -> None:
        """Nothing was put in place."""

    def _is_finite(self, tensor: Tensor) -> bool:
        known = self._finite.get(id(tensor))
        version = version_of(tensor)
        if known is not None and known[0]() is tensor and known[1] == version >= 0:
            return True
        try:
            with Unseen():
                if not has_values(tensor) or not (tensor.is_floating_point() or tensor.is_complex()):
                    return True
                # One pass that makes nothing; a sum that overflows is looked at more closely.
                if not torch.isfinite(tensor.sum()) and not torch.isfinite(tensor).all():
                    return False
        except (RuntimeError, NotImplementedError):  # a layout or subclass that cannot be summed: nothing is known
            return True
        self._finite[id(tensor)] = weakref.ref(tensor), version
        return True

    def _nan_and_inf(self, tensor: Tensor) -> tuple[int, int]:
        with Unseen():
            if self._is_finite(tensor):
                return 0, 0
            return int(tensor.isnan().sum()), int(tensor.isinf().sum())
