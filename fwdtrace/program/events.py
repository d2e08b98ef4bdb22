"""What goes wrong in a running program, noticed by one reduction a call and one a step, and explained by a replay."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from sys import _getframe
from typing import Any

import torch
from torch import Tensor, nn

from fwdtrace.program.endings import stop
from fwdtrace.program.moment import moment_before
from fwdtrace.program.passes import Pass, await_backward
from fwdtrace.program.replay import Replay, called_at, replayed
from fwdtrace.program.roots import Root
from fwdtrace.program.steps import Optimizer, Steps, gradients_for, norm_of
from fwdtrace.recorder.describe import tensors_of
from fwdtrace.recorder.frames import frame_role, position_of_caller
from fwdtrace.recorder.measures.values import has_values
from fwdtrace.recorder.notes import Options
from fwdtrace.recorder.torch_internals import Unseen
from fwdtrace.trace import Trace

NONFINITE = "nonfinite"
OBSERVED = Options(ops=True, check_finite=True, stats=True, alone=True)
"""What a replay measures."""

Keep = Callable[[Root, Trace], bool]
"""Takes the trace of an event; whether the program is to be ended."""


class Nonfinite:
    """The watch for numbers that are not finite: in what a root returns, and in what an optimizer is about to use.

    `unhooked` gives a block in which the program's models run without our hooks. An event is told once: as long as
    every call of the root, or every step of the optimizer, is spoiled, there is no further one.
    """

    def __init__(self, unhooked: Callable[[], AbstractContextManager[None]], keep: Keep, last: int) -> None:
        self._unhooked = unhooked
        self._keep = keep
        self._steps = Steps(last)
        self._spoiled: weakref.WeakSet[Root] = weakref.WeakSet()
        self._spoiled_since: weakref.WeakSet[Root] = weakref.WeakSet()
        """Roots that gave what is not finite since their optimizer has stepped."""
        self._begun: list[Pass] = []
        """Those through which backward has come since their optimizer has stepped, in the order of backward."""
        self._suspected: list[Pass] = []
        """Those after whose backward the gradients were not finite, while more are being accumulated."""

    @frame_role("boundary")
    def run(self, root: Root, number: int, module: nn.Module, entry: str, args: Any, kwargs: Any, call: Any) -> Any:
        """Make a call of a root, and look at what it returns."""
        self._before_call(root)
        top = root.module()
        moment = moment_before(
            module, entry, args, kwargs, module if top is None else top, root.buffers, position_of_caller(_getframe(2))
        )
        output = call(*args, **kwargs)
        root.buffers.after()
        outputs = tensors_of(output)
        noted = Pass(root, number, moment, outputs, [_sum(tensor) for tensor in outputs])
        if self._is_spoiled(noted, outputs):
            self._spoiled_since.add(root)
            if root not in self._spoiled and self._explain_output(noted, outputs):
                raise stop()
        else:
            self._spoiled.discard(root)
            if torch.is_grad_enabled():
                await_backward(noted, outputs, lambda begun: self._begun.append(begun))
        return output

    def before_step(self, optimizer: Any, args: Any, kwargs: Any) -> Any:
        """Look at the gradients before an optimizer writes; what it is to be given instead of its arguments, if any.

        A closure computes the gradients while the optimizer steps, so it is given one that looks at them too.
        """
        closure = kwargs.get("closure") or (args[1] if len(args) > 1 else None)  # behind the optimizer itself
        if not callable(closure):
            self._look_at_gradients(optimizer)
            return None

        @frame_role("stand-in")
        def closure_then_look(*given: Any, **named: Any) -> Any:
            result = closure(*given, **named)
            self._look_at_gradients(optimizer)
            return result

        if "closure" in kwargs:
            return args, {**kwargs, "closure": closure_then_look}
        return (args[0], closure_then_look, *args[2:]), kwargs

    def _look_at_gradients(self, optimizer: Any) -> None:
        norm = norm_of(gradients_for(optimizer))
        known = self._steps.add(optimizer, norm)
        skips = getattr(optimizer, "found_inf", None)  # of a GradScaler, where the optimizer itself leaves out the step
        if math.isfinite(norm) or (skips is not None and bool(skips)):
            known.is_spoiled = False
        elif not known.is_spoiled:
            known.is_spoiled = True
            if self._explain_gradients(known, optimizer):
                raise stop()
        self._spoiled_since -= {root for root in self._spoiled_since if known.owns(root, optimizer)}
        self._begun = [each for each in self._begun if not known.owns(each.root, optimizer)]
        self._suspected = [each for each in self._suspected if not known.owns(each.root, optimizer)]

    def _before_call(self, root: Root) -> None:
        """Of the backward passes since the last step, which are being accumulated, keep those that were not finite."""
        earlier = [each for each in self._begun if each.root is root]
        if not earlier:
            return
        self._begun = [each for each in self._begun if each.root is not root]
        top = root.module()
        gradients = [each.grad for each in top.parameters() if each.grad is not None] if top is not None else []
        if math.isfinite(norm_of(gradients)):
            self._suspected = [each for each in self._suspected if each.root is not root]
        elif not any(each.root is root for each in self._suspected):
            self._suspected += earlier

    def _is_spoiled(self, noted: Pass, outputs: Sequence[Tensor]) -> bool:
        with Unseen():
            return any(
                number is not None
                and not math.isfinite(number)
                and bool((tensor.isnan() if noted.root.gives_infinity else ~tensor.isfinite()).any())
                for tensor, number in zip(outputs, noted.sums, strict=True)
            )

    def _explain_output(self, noted: Pass, outputs: Sequence[Tensor]) -> bool:
        given = map(_sum, tensors_of((noted.moment.args, noted.moment.kwargs)))
        if self._spoiled and any(number is not None and not math.isfinite(number) for number in given):
            self._spoiled.add(noted.root)  # with what another model gave, which has been told
            return False
        replay = self._replay(noted, outputs, None)
        found = any(finding.code == "FT005" for finding in replay.trace.findings)
        has_nan = any(number is not None and math.isnan(number) for number in noted.sums)
        if not found and not has_nan and not replay.inexact:  # infinities that are meant, as where a mask hides actions
            noted.root.gives_infinity = True
            return False
        self._spoiled.add(noted.root)
        return self._hand_over(noted, replay, self._steps.of_root(noted.root), 1)

    def _explain_gradients(self, known: Optimizer, optimizer: Any) -> bool:
        candidates = [*self._suspected, *self._begun]
        if any(known.owns(root, optimizer) for root in self._spoiled_since):
            return False
        first: tuple[Pass, Replay] | None = None
        for each in candidates:
            replay = self._replay(each, each.output(), each.gradients)
            if any(fault.kind == "non-finite" and fault.event is not None for fault in replay.trace.gradient_faults):
                first = each, replay
                break
            first = first or (each, replay)
        self._spoiled.update(each.root for each in candidates if known.owns(each.root, optimizer))
        return first is not None and self._hand_over(*first, known, 0)

    def _replay(self, noted: Pass, output: Sequence[Any], gradients: Sequence[Tensor | None] | None) -> Replay:
        top = noted.root.module()
        model = noted.moment.module if top is None else top
        with self._unhooked():
            return replayed(noted.moment, model, OBSERVED, noted.number, output, gradients)

    def _hand_over(self, noted: Pass, replay: Replay, optimizer: Optimizer | None, ahead: int) -> bool:
        trace = replay.traced
        run = replace(
            trace.run,
            event=NONFINITE,
            step=optimizer.steps + ahead if optimizer is not None else None,
            last_steps=tuple(optimizer.last) if optimizer is not None else (),
        )
        trace = called_at(replace(trace, run=run), noted.moment.position)
        end_now = self._keep(noted.root, trace)
        if replay.raised is not None and not isinstance(replay.raised, Exception):
            raise replay.raised
        return end_now


def _sum(tensor: Tensor) -> float | None:
    """The sum of the elements, which is not finite if one of them is not; None of what are no such numbers."""
    try:
        with Unseen():
            if not (tensor.is_floating_point() or tensor.is_complex()) or not has_values(tensor):
                return None
            return float((torch.view_as_real(tensor) if tensor.is_complex() else tensor).sum())
    except (RuntimeError, NotImplementedError):  # a layout or subclass that cannot be summed: nothing is known
        return None
