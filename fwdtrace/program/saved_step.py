"""The first call in which something happened, written so that it can be made again when the program has ended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from fwdtrace.program.passes import Pass
from fwdtrace.recorder.torch_internals import Unseen, wraps_compiled


class StepToSave:
    """Where a call is to be saved, if anywhere, and what there is to say of it."""

    def __init__(self, folder: str | None) -> None:
        self._folder = Path(folder) if folder is not None else None
        self.said: str | None = None

    def save(self, noted: Pass, optimizer: Any, wrong: str | None, of_loss: bool = False, gone: str = "") -> None:
        """Save a call, unless one was saved already. The program must not end because of us, whatever is wrong.

        `wrong` is what was not finite, if that is known: the "output" of the call, or the "gradients" of its backward.
        `of_loss`: what happened is in the loss, which the program computes after the call and which is not saved.
        `gone` says why nothing is left of the arguments, if that is so.
        """
        if self._folder is None or self.said is not None:
            return
        if gone:
            self.said = f"the step could not be saved: {gone}"
            return
        from fwdtrace.models.capsule import save_capsule, spec_of, takes_arguments, with_arguments

        moment = noted.moment
        modes = {"grad": moment.modes.grad, "autocast": moment.modes.autocast}
        call = {"entry": moment.entry, "args": moment.args, "kwargs": moment.kwargs, **modes}
        buffers = [(buffer, value) for reference, value in moment.buffers if (buffer := reference()) is not None]
        gradients = noted.gradients if any(each is not None for each in noted.gradients) else None
        module = _unwrapped(moment.module)
        try:
            with Unseen():
                left_out = save_capsule(self._folder, module, call, moment.random, buffers, gradients, optimizer, wrong)
                spec = spec_of(module)
        except Exception as error:  # a full disk, or an object of the program that cannot be read
            self.said = f"the step could not be saved in {self._folder}: {type(error).__name__}: {error}"
            return
        what = "the call of the model, without the loss," if of_loss else "the step,"
        file = self._folder / "capsule.json"
        named = f"fwdtrace run {with_arguments(spec)} --capsule {file}"
        self.said = f"saved {what} for {f'fwdtrace run {file}' if spec is not None else named}"
        if spec is None:
            self.said += f"; SPEC names what builds the {type(module).__name__}, in a file that can be imported"
        elif takes_arguments(module):
            self.said += f"; if the {type(module).__name__} was built with arguments, for {named}"
        if left_out:
            more = f", and {len(left_out) - 1} more" if len(left_out) > 1 else ""
            self.said += f"; it could not hold {left_out[0]}{more}"
        elif moment.was_written_into():
            self.said += "; an argument was written into after the call had begun, and is saved as it is now"


def _unwrapped(module: nn.Module) -> nn.Module:
    """The model itself, where one around it does nothing that another machine could do."""
    while True:
        if isinstance(module, nn.parallel.DistributedDataParallel):
            module = module.module
        elif wraps_compiled(type(module)):
            module = module.get_submodule("_orig_mod")
        else:
            return module
