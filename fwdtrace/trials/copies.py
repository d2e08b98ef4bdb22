"""A copy of a model to try changes on, with its weights or without memory, and runs of it that leave nothing behind."""

from __future__ import annotations

import copy
import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from time import thread_time
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from fwdtrace.findings.forward_error.changes import Change, Given
from fwdtrace.models.meta import META
from fwdtrace.models.randomness import random_state
from fwdtrace.models.spec import Inputs
from fwdtrace.recorder import Options, Recording
from fwdtrace.recorder.describe import tensors_of
from fwdtrace.trace import Shape, Trace, tensors_in
from fwdtrace.trials.apply import CannotChange, after_steps, applied, dtype_named


@dataclass(frozen=True)
class Outcome:
    """What a changed copy gave: its tensors; None if it raised, and the trace of that if it was recorded.

    `drew` says whether it used random numbers; `seconds` is its time of work.
    """

    outputs: list[Tensor] | None
    trace: Trace | None
    drew: bool = False
    seconds: float = 0.0


class Copy:
    """A copy of a model and of the arguments of its call that failed; `trace` is the trace of that call.

    `on_meta`: without memory, so that a run takes no values and tells of shapes alone.
    """

    def __init__(self, trace: Trace | None, model: nn.Module, inputs: Inputs, *, on_meta: bool) -> None:
        self.on_meta = on_meta
        self._grad = trace is not None and trace.run.grad
        self._model = _copied(model, on_meta)
        self.is_training = model.training
        leaves, self._form = tree_flatten((inputs.args, inputs.kwargs))
        self._leaves = leaves
        self._places = [place for place, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
        named = tensors_in(trace.children()[0].inputs) if trace is not None else ()
        self.arguments = {leaf.name: place for leaf, place in zip(named, self._places, strict=False)}
        given = [tuple(leaves[place].shape) for place in self._places]
        if trace is not None and [leaf.shape for leaf in named] != given:
            raise CannotChange("the arguments are in an object that torch does not open")

    @classmethod
    def of(cls, model: nn.Module, inputs: Inputs) -> Copy:
        """A copy to be run as it is, on these arguments."""
        return cls(None, model, inputs, on_meta=False)

    def run(self, changes: tuple[Change, ...], *, examples: int | None = None, record: bool = False) -> Outcome:
        """Run the copy with these changes, with as many examples, of which the first are those that it was given.

        CannotChange if a change cannot be made. Only what is recorded has a trace if it raises.
        """
        with _leaving_nothing() as drew, META if self.on_meta else nullcontext():
            try:
                args, kwargs = self._arguments(changes, examples)
            except RuntimeError:  # a dtype without random numbers, steps that the tensor does not take
                raise CannotChange("the arguments cannot be changed so") from None
            with applied(self._model, changes) as model, torch.set_grad_enabled(self._grad):
                began = thread_time()
                recording = Recording(model, Options(ops=True)) if record else None
                try:
                    with recording or nullcontext():
                        output = model(*args, **kwargs)
                except KeyboardInterrupt:
                    raise
                except BaseException:  # the model is the user's, and may do anything when it is given something else
                    return Outcome(None, recording.trace if recording is not None else None)
                return Outcome(tensors_of(output), None, drew(), thread_time() - began)

    def examples(self, changes: tuple[Change, ...]) -> int:
        """How many examples the first argument has: its first size."""
        shapes = [self._given(place, changes) for place in self._places]
        return next((shape[0] for shape in shapes if shape), 0)

    def _given(self, place: int, changes: tuple[Change, ...]) -> Shape:
        for change in changes:
            if isinstance(change, Given) and self.arguments.get(change.argument) == place:
                empty = torch.empty(change.shape or self._leaves[place].shape, device=META)
                return tuple(after_steps(empty, change.steps).shape)
        return tuple(self._leaves[place].shape)

    def _arguments(self, changes: tuple[Change, ...], examples: int | None) -> tuple[tuple[Any, ...], dict[str, Any]]:
        leaves = list(self._leaves)
        for place in self._places:
            leaves[place] = self._tensor(leaves[place])
        for change in changes:
            if isinstance(change, Given):
                if change.argument not in self.arguments:
                    raise CannotChange(change.argument)
                at = self.arguments[change.argument]
                leaves[at] = self._changed(leaves[at], change)
        if examples is not None:
            had = self.examples(changes)
            for place in self._places:
                if leaves[place].shape[:1] == (had,):
                    leaves[place] = _of_examples(leaves[place], had, examples)
        args, kwargs = tree_unflatten(leaves, self._form)
        return args, kwargs

    def _tensor(self, tensor: Tensor) -> Tensor:
        return torch.empty_like(tensor, device=META) if self.on_meta else tensor.detach().clone()

    def _changed(self, tensor: Tensor, change: Given) -> Tensor:
        dtype = dtype_named(change.dtype) if change.dtype else tensor.dtype
        if change.shape is None:
            changed = tensor.to(dtype)
            done: Tensor = after_steps(changed, change.steps)
            return done
        return other_values(tensor, change.shape, dtype)


def other_values(tensor: Tensor, shape: Shape, dtype: torch.dtype) -> Tensor:
    """A tensor of another shape with values of the same kind: whole numbers from among those that the tensor has."""
    if tensor.device == META:
        return torch.empty(shape, dtype=dtype, device=META)
    if dtype.is_floating_point or dtype.is_complex:
        return torch.randn(shape, dtype=dtype, device=tensor.device)
    if not tensor.numel() or tensor.is_floating_point() or tensor.is_complex():
        return torch.zeros(shape, dtype=dtype, device=tensor.device)
    values = tensor.flatten()
    return values[torch.arange(int(torch.Size(shape).numel())) % len(values)].reshape(shape).to(dtype)


def _of_examples(tensor: Tensor, had: int, wanted: int) -> Tensor:
    """The first examples as they are, and others behind them."""
    if wanted <= had:
        return tensor[:wanted]
    more = other_values(tensor, (wanted - had, *tensor.shape[1:]), tensor.dtype)
    return torch.cat((tensor, more))


def _copied(model: nn.Module, on_meta: bool) -> nn.Module:
    """A copy that shares nothing with the model; CannotChange if it has something in it that cannot be copied."""
    memo: dict[int, Any] = {}
    if on_meta:
        for tensor in _tensors_in(model):
            empty = torch.empty_like(tensor, device=META)
            memo[id(tensor)] = nn.Parameter(empty, False) if isinstance(tensor, nn.Parameter) else empty
    try:
        return copy.deepcopy(model, memo)
    except Exception:  # a lock, a file, a tensor with a graph: whatever the user has put in a module
        raise CannotChange("the model cannot be copied") from None


def _tensors_in(model: nn.Module) -> Iterator[Tensor]:
    for module in model.modules():
        yield from (leaf for leaf in tree_leaves(list(vars(module).values())) if isinstance(leaf, Tensor))


@contextmanager
def _leaving_nothing() -> Iterator[Any]:
    """Silence, and afterwards the random states of before. Yields a function that says whether numbers were drawn."""
    state = random_state()
    logging_was = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield lambda: not random_state().same_as(state)
    finally:
        logging.disable(logging_was)
        state.restore()
