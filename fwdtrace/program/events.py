"""What happens in a running program, noticed by one reduction a call and one a step, and explained by a replay."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from sys import _getframe
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from fwdtrace.program.causes import Spoiled, is_given_nonfinite, is_meant, is_reported, made_in, only_given, tell
from fwdtrace.program.endings import stop
from fwdtrace.program.late import LateReplays
from fwdtrace.program.moment import Moment, moment_before
from fwdtrace.program.passes import Pass, await_backward, sum_of
from fwdtrace.program.roots import Root
from fwdtrace.program.saved_step import StepToSave
from fwdtrace.program.scopes import places_above, scopes_above
from fwdtrace.program.slow_calls import SlowCalls
from fwdtrace.program.steps import Happened, Keep, Optimizer, Steps, gradients_for, norm_of, single_numbers
from fwdtrace.program.together import NEVER, all_call, collectives, groups_used, least
from fwdtrace.program.wanted import Looks
from fwdtrace.recorder.describe import tensors_of
from fwdtrace.recorder.frames import frame_role, position_of_caller
from fwdtrace.recorder.torch_internals import Unseen

if TYPE_CHECKING:
    from fwdtrace.program.replay import Replay

MAY_WAIT = "it may wait for other ranks, which have not made this call"
"""Why a call without gradients is not run again."""
MOST_BEGUN = 64
"""So many backward passes are kept before a step, of a model that only all ranks together can run again."""
MOST_BESIDE = 3
"""From so many calls it is looked for what made gradients that are not finite beside the model."""


class Events:
    """The watch for numbers that are not finite, in what a root returns and in what an optimizer is about to use, and
    for calls that are slow.

    `unhooked` gives a block in which the program's models run without our hooks. What is not finite is reported once:
    as long as every call of the root, or every step of the optimizer, is spoiled, there is no further event.
    """

    def __init__(
        self, looks: Looks, unhooked: Callable[[], AbstractContextManager[None]], keep: Keep, saves: StepToSave
    ) -> None:
        self._looks = looks
        self._steps = Steps(looks.last)
        self._replays = LateReplays(unhooked, keep, saves, self._steps.optimizer_of)
        self._slow = SlowCalls(looks.slow, self._steps, self._replays) if looks.slow is not None else None
        self.raised_at: Moment | None = None
        """The moment of the latest call, if it raised."""
        self._is_over = False
        self._called: weakref.WeakSet[Root] = weakref.WeakSet()
        """Roots that give single numbers."""
        self._spoiled: weakref.WeakSet[Root] = weakref.WeakSet()
        self._given = Spoiled()
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
        slow = self._slow
        end_now = slow.look_at_device() if slow is not None else False
        mark = slow.mark(moment.module) if slow is not None else None
        began = perf_counter()
        try:
            output = call(*args, **kwargs)
        except Exception:
            self.raised_at = moment
            raise
        self.raised_at = None
        seconds = perf_counter() - began
        root.changing.after()
        used = groups_used(before)
        root.groups |= used
        if root.groups:
            self._together.add(root)
        outputs = tensors_of(output)
        sums = [sum_of(tensor) for tensor in outputs] if self._looks.nonfinite else [None] * len(outputs)
        noted = Pass(root, number, moment, outputs, sums)
        if any(number is not None and tensor.numel() == 1 for number, tensor in zip(sums, outputs, strict=True)):
            root.numbers += single_numbers(number, output, sums)
            self._called.add(root)
        if slow is not None:
            end_now |= slow.took(noted, mark, seconds)
        noted.is_spoiled = self._is_spoiled(noted, outputs)
        if used and not torch.is_grad_enabled():  # before no step, so that all ranks have to agree on it now
            end_now |= (self._explain_evaluation if all_call(module, before) else self._tell_evaluation)(noted, used)
        elif noted.is_spoiled and not (root.groups if torch.is_grad_enabled() else used):
            self._given.add(root, outputs)
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
            noted.goes_on = torch.is_grad_enabled()
            self._begun.append(noted)
        came = (sum_of(gradient) for gradient in gradients if gradient is not None)
        if not noted.backward_from and any(number is not None and not math.isfinite(number) for number in came):
            noted.backward_from = scopes_above(_getframe(1), noted.called_from)

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

    def keep_open(self) -> None:
        """Keep the replay that is running as far as it has come, for a program that is about to be killed."""
        self._replays.keep_open()

    @property
    def leaves_gradients(self) -> bool:
        """Whether a backward began after which no optimizer has stepped, so that its gradients were not looked at."""
        return bool(self._begun)

    def end(self) -> bool:
        """Explain nothing from now on; whether there are ranks that wait for this one to say so."""
        self._is_over = True
        if self._slow is not None:
            self._slow.end()
        return bool(self._together)

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
        over = [each for each in self._begun if known.owns(each.root, optimizer) or not each.root.has_gradients()]
        for each in over:
            each.root.skipped.stepped()
        self._begun = [each for each in self._begun if each not in over]
        self._given.stepped(known, optimizer)
        self._suspected = [each for each in self._suspected if not known.owns(each.root, optimizer)]

    def _before_call(self, root: Root) -> None:
        """Of the backward passes since the last step, which are being accumulated, keep those that were not finite."""
        earlier = [each for each in self._begun if each.root is root and not each.goes_on]
        if root.groups:  # all ranks have to keep the same ones
            for each in earlier[:-MOST_BEGUN]:
                self._begun.remove(each)
        else:
            self._begun = [each for each in self._begun if each not in earlier]
        if earlier and root.skipped.is_endless():
            self._explain_skipped(earlier[-1])
        if root.groups or not earlier:
            return
        top = root.module()
        gradients = (
            [each.grad for each in top.parameters() if each.is_leaf and each.grad is not None]
            if top is not None
            else []
        )
        if math.isfinite(norm_of(gradients)):
            self._suspected = [each for each in self._suspected if each.root is not root]
        elif not any(each.root is root for each in self._suspected):
            self._suspected += earlier

    def _explain_skipped(self, noted: Pass) -> None:
        """Explain why a GradScaler leaves out step after step, on all ranks that average gradients: they all do so."""
        happened = Happened("nonfinite", self._steps.of_root(noted.root), 1)
        if noted.root.groups:
            goes_on, first, last = least(
                noted.root.groups, noted.moment.module, not self._is_over, noted.number, -noted.number
            )
            if not goes_on or first != -last:
                return
        replay = self._replays().replay(noted, happened, noted.output(), noted.gradients)
        if noted.backward_from and not (noted.root.groups or made_in(replay) or replay.interrupt):
            replay = self._replays().replay_loss(noted, happened) or replay
        if self._replays().hand_over(noted, replay, happened):
            raise stop()

    def _is_spoiled(self, noted: Pass, outputs: Sequence[Tensor]) -> bool:
        pairs = zip(outputs, noted.sums, strict=True)
        suspected = [tensor for tensor, number in pairs if number is not None and not math.isfinite(number)]
        if not suspected:
            return False
        with Unseen():
            wrong = torch.isnan if noted.root.gives_infinity else lambda tensor: ~tensor.isfinite()
            return any(bool(wrong(tensor).any()) for tensor in suspected)

    def _explain_output(self, noted: Pass, outputs: Sequence[Tensor]) -> bool:
        if self._is_over or (self._spoiled and is_given_nonfinite(noted)):
            self._spoiled.add(noted.root)  # with what another model gave, or with its weights, which has been reported
            return False
        happened = Happened("nonfinite", self._steps.of_root(noted.root), 1)
        replay = self._replays().replay(noted, happened, outputs, None)
        if is_meant(noted, replay):
            noted.root.gives_infinity = True
            return False
        self._spoiled.add(noted.root)
        return self._replays().hand_over(noted, replay, happened)

    def _explain_gradients(self, known: Optimizer, optimizer: Any) -> bool:
        candidates = [*self._suspected, *self._begun]
        own = [each for each in candidates if known.owns(each.root, optimizer)]
        others = {each for each in self._spoiled if not known.owns(each, optimizer)}
        self._spoiled.update(each.root for each in own)
        if self._is_over or self._given.leads_to(known, optimizer):
            return False
        was_told = is_reported(own or candidates)
        candidates = [each for each in candidates if not each.is_blamed]
        happened = Happened("nonfinite", known)
        best: tuple[Pass, Replay] | None = None
        of_loss = False
        # What has no gradients, as a loss has none, is run again with the model that it was given the output of.
        for each in [each for each in candidates if each.root.has_gradients()] or candidates:
            replay = self._replays().replay(each, happened, each.output(), each.gradients)
            if made_in(replay) or replay.interrupt is not None:
                best = each, replay
                break
            if was_told:
                continue
            loss = self._replays().replay_loss(each, happened) if each.backward_from and not of_loss else None
            if loss is not None:
                best, of_loss = (each, loss), True
                if loss.interrupt is not None:
                    break
            elif best is None or (each.backward_from and not best[0].backward_from):
                best = each, replay
        if best is not None and not (made_in(best[1]) or best[0].backward_from or best[1].interrupt):
            best = self._beside(candidates, happened) or best
        if best is None or (others and only_given(best[1])):
            return False  # what another model gave, which has been reported
        tell(candidates, best[0])
        return self._replays().hand_over(*best, happened)

    def _beside(self, candidates: Sequence[Pass], happened: Happened) -> tuple[Pass, Replay] | None:
        """What made gradients that are not finite without coming through what the model gave, as a penalty on weights.

        It is looked for up to where the optimizer steps, from each of the first calls on.
        """
        for each in sorted(candidates, key=lambda each: each.number)[:MOST_BESIDE]:
            each.backward_from = scopes_above(_getframe(2), each.called_from)
            loss = self._replays().replay_loss(each, happened)
            if loss is not None:
                return each, loss
        return None

    def _explain_together(self, roots: Sequence[Root], known: Optimizer, spoiled: bool) -> bool:
        """Have all ranks explain what went wrong on one of them, by the same call; whether the program is to be ended.

        All ranks come here for each step, and have made the same calls since the last one, or none explains it.
        """
        groups = {name for root in roots for name in root.groups}
        passes = [each for each in self._begun if each.root.groups and each.root.groups <= groups]
        model = passes[0].moment.module if passes else nn.Module()
        first = next((place for place, each in enumerate(passes) if each.is_spoiled), NEVER)
        count = -1 if self._is_over else len(passes)
        first, fine, count, less = least(groups, model, first, not spoiled, count, -len(passes))
        was_spoiled, known.is_spoiled = known.is_spoiled, first != NEVER or not fine
        if was_spoiled or not known.is_spoiled or count != -less:
            return False
        was_told = is_reported([each for each in passes if each.root in roots])
        happened = Happened("nonfinite", known)
        if first != NEVER:
            return not was_told and self._explain_output_together(passes, first, groups, happened)
        for each in [each for each in passes if not each.is_blamed]:
            replay = self._replays().replay(each, happened, each.output(), each.gradients)
            found_nowhere = 1
            if replay.interrupt is None:
                (found_nowhere,) = least(groups, model, not made_in(replay))
            if replay.interrupt is not None or not found_nowhere or (each is passes[-1] and not was_told):
                tell(passes, each)
                return self._replays().hand_over(each, replay, happened)
        return False

    def _explain_output_together(
        self, passes: Sequence[Pass], first: int, groups: Collection[str], happened: Happened
    ) -> bool:
        """Have all ranks run a call again that gave what is not finite on some of them."""
        each = passes[first]
        replay = self._replays().replay(each, happened, each.output(), None)
        if replay.interrupt is None:
            (each.root.gives_infinity,) = map(bool, least(groups, each.moment.module, is_meant(each, replay)))
        if each.root.gives_infinity:
            return False
        tell(passes, each)
        return self._replays().hand_over(each, replay, happened)

    def _explain_evaluation(self, noted: Pass, groups: Collection[str]) -> bool:
        """Have all ranks explain a call without gradients that went wrong on one, which all of them have just made."""
        fine, goes_on = least(groups, noted.moment.module, not noted.is_spoiled, not self._is_over)
        was_spoiled = noted.root in self._spoiled
        (self._spoiled.discard if fine else self._spoiled.add)(noted.root)
        known = self._steps.of_root(noted.root)
        if fine or not goes_on or was_spoiled or (known is not None and known.is_spoiled):
            return False
        return self._explain_output_together([noted], 0, groups, Happened("nonfinite", known, 1))

    def _tell_evaluation(self, noted: Pass, groups: Collection[str]) -> bool:
        """Tell of a call without gradients that went wrong, which other ranks may not have made."""
        was_spoiled = noted.root in self._spoiled
        (self._spoiled.add if noted.is_spoiled else self._spoiled.discard)(noted.root)
        if self._is_over or not noted.is_spoiled or was_spoiled:
            return False
        happened = Happened("nonfinite", self._steps.of_root(noted.root), 1)
        return self._replays().hand_over(noted, self._replays().none_of(noted, MAY_WAIT), happened)
