"""What happens in a running program, noticed by one reduction a call and one a step, and explained by a replay."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from sys import _getframe
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

from fwdtrace.program.endings import stop
from fwdtrace.program.loss import loss_again, places_above, with_loss_named
from fwdtrace.program.moment import Moment, moment_before, tensors_in_arguments
from fwdtrace.program.names import name_of_called
from fwdtrace.program.passes import Pass, await_backward
from fwdtrace.program.replay import Replay, called_at, replayed
from fwdtrace.program.roots import Root
from fwdtrace.program.saved_step import SavedStep
from fwdtrace.program.steps import Optimizer, Steps, gradients_for, norm_of
from fwdtrace.program.together import NEVER, collectives, groups_used, least
from fwdtrace.program.wanted import Looks
from fwdtrace.recorder.describe import tensors_of, walk
from fwdtrace.recorder.frames import frame_role, position_of_caller
from fwdtrace.recorder.measures.values import has_values
from fwdtrace.recorder.notes import Options
from fwdtrace.recorder.torch_internals import Unseen, dispatch_modes, torch_function_modes
from fwdtrace.trace import Trace
from fwdtrace.trace.info import StepOutput

OBSERVED = Options(ops=True, check_finite=True, stats=True, alone=True)
"""What a replay measures."""
TIMED = Options(ops=True, alone=True)
"""What the replay of a slow call measures."""

Keep = Callable[[Root, Trace], bool]
"""Takes the trace of an event; whether the program is to be ended."""


class Events:
    """The watch for numbers that are not finite, in what a root returns and in what an optimizer is about to use, and
    for calls that are slow.

    `unhooked` gives a block in which the program's models run without our hooks. What is not finite is told once: as
    long as every call of the root, or every step of the optimizer, is spoiled, there is no further event.
    """

    def __init__(
        self, looks: Looks, unhooked: Callable[[], AbstractContextManager[None]], keep: Keep, saves: SavedStep
    ) -> None:
        self._looks = looks
        self._unhooked = unhooked
        self._keep = keep
        self._saves = saves
        self._steps = Steps(looks.last)
        self.raised_at: Moment | None = None
        """The moment of the latest call, if it raised."""
        self._called: weakref.WeakSet[Root] = weakref.WeakSet()
        """Roots that give single numbers."""
        self._spoiled: weakref.WeakSet[Root] = weakref.WeakSet()
        self._spoiled_since: weakref.WeakSet[Root] = weakref.WeakSet()
        """Roots that gave what is not finite since their optimizer has stepped."""
        self._together: weakref.WeakSet[Root] = weakref.WeakSet()
        """Roots whose calls need other ranks."""
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
            module, entry, args, kwargs, module if top is None else top, root.changing, position_of_caller(_getframe(2))
        )
        before = collectives()
        began = perf_counter()
        try:
            output = call(*args, **kwargs)
        except Exception:
            self.raised_at = moment
            raise
        self.raised_at = None
        seconds = perf_counter() - began
        root.changing.after()
        root.groups |= groups_used(before)
        if root.groups:
            self._together.add(root)
        outputs = tensors_of(output)
        sums = [_sum(tensor) for tensor in outputs] if self._looks.nonfinite else [None] * len(outputs)
        noted = Pass(root, number, moment, outputs, sums)
        if any(number is not None and tensor.numel() == 1 for number, tensor in zip(sums, outputs, strict=True)):
            root.numbers += _single_numbers(number, output, sums)
            self._called.add(root)
        slow = self._looks.slow if not root.groups else None
        end_now = slow is not None and root.usual.is_exceeded(seconds, slow) and self._explain_time(noted, seconds)
        noted.is_spoiled = self._is_spoiled(noted, outputs)
        if noted.is_spoiled and not root.groups:
            self._spoiled_since.add(root)
            end_now |= root not in self._spoiled and self._explain_output(noted, outputs)
        else:
            self._spoiled.discard(root)
            if self._looks.nonfinite and torch.is_grad_enabled():
                noted.called_from = tuple((frame.f_code, line) for frame, line in places_above(_getframe(1)))
                await_backward(noted, outputs, self._backward_comes)
        if end_now:
            raise stop()
        return output

    @frame_role("stand-in")
    def _backward_comes(self, noted: Pass, gradients: Sequence[Tensor | None], is_first: bool) -> None:
        if is_first:
            self._begun.append(noted)
        came = (_sum(gradient) for gradient in gradients if gradient is not None)
        if not noted.backward_from and any(number is not None and not math.isfinite(number) for number in came):
            noted.backward_from = tuple(places_above(_getframe(1)))

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
        known = self._steps.add(optimizer, norm, self._called)
        skips = getattr(optimizer, "found_inf", None)  # of a GradScaler, where the optimizer itself leaves out the step
        spoiled = not math.isfinite(norm) and not (skips is not None and bool(skips))
        together = [root for root in self._together if known.owns(root, optimizer)]
        if together:
            end_now = self._explain_together(together, known, spoiled)
        else:
            end_now = spoiled and not known.is_spoiled and self._explain_gradients(known, optimizer)
            known.is_spoiled = spoiled
        if end_now:
            raise stop()
        for each in self._begun:
            if known.owns(each.root, optimizer):
                each.root.skipped.stepped()
        self._spoiled_since -= {root for root in self._spoiled_since if known.owns(root, optimizer)}
        self._begun = [each for each in self._begun if not known.owns(each.root, optimizer)]
        self._suspected = [each for each in self._suspected if not known.owns(each.root, optimizer)]

    def _before_call(self, root: Root) -> None:
        """Of the backward passes since the last step, which are being accumulated, keep those that were not finite."""
        earlier = [each for each in self._begun if each.root is root]
        if not earlier or root.groups:  # of which all ranks have to keep the same ones
            return
        self._begun = [each for each in self._begun if each.root is not root]
        if root.skipped.is_endless():
            replay = self._replay(earlier[-1], earlier[-1].output(), earlier[-1].gradients)
            if self._hand_over(earlier[-1], replay, self._steps.of_root(root), 1, event="nonfinite"):
                raise stop()
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

    def _explain_time(self, noted: Pass, seconds: float) -> bool:
        replay = self._replay(noted, noted.output(), None, TIMED)
        times = {"first_us": seconds * 1e6, "usual_us": noted.root.usual.median * 1e6}
        return self._hand_over(noted, replay, self._steps.of_root(noted.root), 1, event="slow", **times)

    def _explain_output(self, noted: Pass, outputs: Sequence[Tensor]) -> bool:
        given = map(_sum, tensors_in_arguments(noted.moment.args, noted.moment.kwargs))
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
        return self._hand_over(noted, replay, self._steps.of_root(noted.root), 1, event="nonfinite")

    def _explain_gradients(self, known: Optimizer, optimizer: Any) -> bool:
        candidates = [*self._suspected, *self._begun]
        if any(known.owns(root, optimizer) for root in self._spoiled_since):
            return False
        first: tuple[Pass, Replay] | None = None
        for each in candidates:
            replay = self._replay(each, each.output(), each.gradients)
            if _made_in(replay):
                first = each, replay
                break
            loss = self._replay_loss(each) if each.backward_from and first is None else None
            first = first or (each, loss or replay)
        self._spoiled.update(each.root for each in candidates if known.owns(each.root, optimizer))
        return first is not None and self._hand_over(*first, known, 0, event="nonfinite")

    def _explain_together(self, roots: Sequence[Root], known: Optimizer, spoiled: bool) -> bool:
        """Have all ranks explain what went wrong on one of them, by the same call; whether the program is to be ended.

        All ranks come here for each step, and have made the same calls since the last one, or none explains it.
        """
        passes = [each for each in self._begun if each.root in roots]
        model = passes[0].moment.module if passes else nn.Module()
        groups = {name for root in roots for name in root.groups}
        first = next((place for place, each in enumerate(passes) if each.is_spoiled), NEVER)
        first, fine, count, less = least(groups, model, first, not spoiled, len(passes), -len(passes))
        was_spoiled, known.is_spoiled = known.is_spoiled, first != NEVER or not fine
        if was_spoiled or not known.is_spoiled or count != -less:
            return False
        if first != NEVER:
            each = passes[first]
            return self._hand_over(each, self._replay(each, each.output(), None), known, 0, event="nonfinite")
        for each in passes:
            replay = self._replay(each, each.output(), each.gradients)
            (found_nowhere,) = least(groups, model, not _made_in(replay))
            if not found_nowhere or each is passes[-1]:
                return self._hand_over(each, replay, known, 0, event="nonfinite")
        return False

    def _replay(
        self,
        noted: Pass,
        output: Sequence[Any],
        gradients: Sequence[Tensor | None] | None,
        options: Options = OBSERVED,
    ) -> Replay:
        top = noted.root.module()
        model = noted.moment.module if top is None else top
        with self._unhooked():
            return replayed(noted.moment, model, options, noted.number, output, gradients)

    def _replay_loss(self, noted: Pass) -> Replay | None:
        """What was computed from the output, if that is where the numbers went wrong."""
        top = noted.root.module()
        model = noted.moment.module if top is None else top
        with self._unhooked():
            replay = loss_again(noted.moment, noted.called_from, noted.backward_from, model, OBSERVED, noted.number)
        blames = replay is not None and any(finding.code == "FT005" for finding in replay.trace.findings)
        return replay if blames else None

    def _hand_over(self, noted: Pass, replay: Replay, optimizer: Optimizer | None, ahead: int, **what: Any) -> bool:
        """Give the trace of a call to whoever keeps it, with what happened; whether the program is to be ended.

        It belongs to the step that the optimizer is at, or to one ahead.
        """
        trace = replay.traced
        run = replace(
            trace.run,
            **what,
            step=optimizer.steps + ahead if optimizer is not None else None,
            last_steps=tuple(optimizer.last) if optimizer is not None else (),
        )
        model = noted.root.module()
        if noted.root.name is None and model is not None:
            noted.root.name = name_of_called(model, model, None)
        trace = with_loss_named(called_at(replace(trace, run=run), noted.moment.position))
        self._saves.save(noted, self._steps.optimizer_of(optimizer))
        end_now = self._keep(noted.root, trace)
        if replay.raised is not None and not isinstance(replay.raised, Exception):
            raise replay.raised
        return end_now


def _single_numbers(call: int, output: Any, sums: Sequence[float | None]) -> Iterator[StepOutput]:
    """What a call has returned in tensors of one element."""
    tensors = [(name, part) for name, part in walk(output, "") if isinstance(part, Tensor)]
    for (name, tensor), number in zip(tensors, sums, strict=True):
        if number is not None and tensor.numel() == 1:
            yield StepOutput(call, name, number if math.isfinite(number) else None)


def _made_in(replay: Replay) -> bool:
    """Whether the backward of the call itself made what is not finite."""
    return any(fault.kind == "non-finite" and fault.event is not None for fault in replay.trace.gradient_faults)


def _sum(tensor: Tensor) -> float | None:
    """The sum of the elements, which is not finite if one of them is not; None of what are no such numbers."""
    if type(tensor) is Tensor and tensor.layout is torch.strided and not (torch_function_modes() or dispatch_modes()):
        return float(tensor.detach().sum()) if tensor.is_floating_point() and not tensor.is_meta else None
    try:
        with Unseen():
            if not (tensor.is_floating_point() or tensor.is_complex()) or not has_values(tensor):
                return None
            return float((torch.view_as_real(tensor) if tensor.is_complex() else tensor).sum())
    except (RuntimeError, NotImplementedError):  # a layout or subclass that cannot be summed: nothing is known
        return None
