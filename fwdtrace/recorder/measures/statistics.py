"""The statistics of every output, if asked: mean, spread, smallest, largest, and how many are zero or not finite."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fwdtrace.recorder.describe import tensors_of
from fwdtrace.recorder.measures.values import stats_of
from fwdtrace.recorder.notes import Leaves, OpenCall, OpenOp
from fwdtrace.recorder.session import Session
from fwdtrace.trace import TensorMeta


class Statistics:
    """The measure of statistics. `outputs` has the leaves of every output with them."""

    def __init__(self, session: Session) -> None:
        self.outputs: dict[OpenCall | OpenOp, Leaves] = {}

    def begins(self, call: OpenCall | OpenOp, args: Any, kwargs: Any) -> None:
        """Nothing to do: inputs are the outputs of others."""

    def ends(self, call: OpenCall | OpenOp, output: Any) -> None:
        """Take the statistics of every tensor in the output."""
        remaining = iter(tensors_of(output))
        self.outputs[call] = tuple(
            replace(leaf, stats=stats_of(tensor))
            if isinstance(leaf, TensorMeta) and (tensor := next(remaining, None)) is not None
            else leaf
            for leaf in call.outputs
        )

    def stop(self) -> None:
        """Nothing was put in place."""
