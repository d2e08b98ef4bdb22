"""A copy of a model to try changes on, with its weights or without memory, and runs of it that leave nothing behind."""

from __future__ import annotations

import copy
import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import partial
from types import FunctionType
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from fwdtrace.findings.forward_error.changes import Called, Change, Given, Operand, Shaped, WithoutGrad
from fwdtrace.findings.forward_error.rule import failed_call
from fwdtrace.models.meta import META, fake, without_values
from fwdtrace.models.randomness import random_state
from fwdtrace.models.spec import Inputs
from fwdtrace.recorder.describe import tensors_of
from fwdtrace.recorder.recorded import Options
from fwdtrace.recorder.recording import Recording
from fwdtrace.recorder.same_dtypes import SameDtypes
from fwdtrace.trace import Shape, Trace, tensors_in
from fwdtrace.trials.apply import CannotChange, after_steps, applied, dtype_named
from fwdtrace.trials.calls_in import calls_in
from fwdtrace.trials.time_left import OutOfTime, worked

Tensors = Literal["real", "meta", "fake"]
"""What a copy is made of: tensors with values, or without memory on torch's meta device or as its fake tensors."""


@dataclass(frozen=True)
class Outcome:
    """What a changed copy gave: its tensors; None if it raised, and the trace of that if it was recorded.

    `drew` says whether it used random numbers; `seconds` is its time of work. `part` is the part that raised.
    """

    outputs: list[Tensor] | None
    trace: Trace | None
    drew: bool = False
    seconds: float = 0.0
    part: Part | None = None


@dataclass(frozen=True)
class Part:
    """A module in a copy, and what it was given in a call that raised."""

    path: str
    inputs: Inputs

    def has(self, change: Change) -> bool:
        """Whether a change is one of this part, or of a line, which this part runs if it raised there."""
        if isinstance(change, (Operand, Called, WithoutGrad)):
            return True
        path = change.name if isinstance(change, Shaped) else "" if isinstance(change, Given) else change.path
        return path.startswith(f"{self.path}.")


class Copy:
    """A copy of a model and of the arguments of its call that failed; `trace` is the trace of that call.

    Made of tensors without memory, a run of it takes no values and tells of shapes alone.
    """

    def __init__(self, trace: Trace | None, model: nn.Module, inputs: Inputs, tensors: Tensors = "real") -> None:
        self.has_values = tensors == "real"
        self._tensors = tensors
        self._grad = trace is not None and trace.run.grad
        call = failed_call(trace) if trace is not None else None
        self._path = call.path or "" if call is not None else ""
        self._model = _copied(model, self.has_values)
        self.is_training = model.training
        leaves, self._form = tree_flatten((inputs.args, inputs.kwargs))
        leaves = [_copied(leaf, self.has_values) if isinstance(leaf, nn.Module) else leaf for leaf in leaves]
        self._leaves = leaves
        self._modules = nn.ModuleList([self._model, *(leaf for leaf in leaves if isinstance(leaf, nn.Module))])
        self._places = [place for place, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
        named = tensors_in(call.inputs) if call is not None else ()
        self.arguments = {leaf.name: place for leaf, place in zip(named, self._places, strict=False)}
        given = [tuple(leaves[place].shape) for place in self._places]
        if call is not None and [leaf.shape for leaf in named] != given:
            raise CannotChange("the arguments are in an object that torch does not open")

    @classmethod
    def of(cls, model: nn.Module, inputs: Inputs) -> Copy:
        """A copy to be run as it is, on these arguments."""
        return cls(None, model, inputs)

    def run(
        self,
        changes: tuple[Change, ...],
        *,
        examples: int | None = None,
        record: bool = False,
        ops: bool = True,
        part: Part | None = None,
    ) -> Outcome:
        """Run the copy with these changes, with as many examples, of which the first are those that it was given.

        CannotChange if a change cannot be made. Only what is recorded has a trace if it raises. Of a part, nothing else
        is run.
        """
        with _leaving_nothing(), self._place(), applied(self._model, changes) as model:
            try:  # after the layers are built, so that they are the same for other arguments
                args, kwargs = self._arguments(changes, examples) if part is None else self._given_again(part.inputs)
            except RuntimeError:  # a dtype without random numbers, steps that the tensor does not take
                raise CannotChange("the arguments cannot be changed so") from None
            state = random_state()
            with torch.set_grad_enabled(self._grad):
                began = worked()
                recording = Recording(model, Options(ops=ops)) if record else None
                try:
                    with recording or nullcontext():
                        output = model.get_submodule(self._path if part is None else part.path)(*args, **kwargs)
                except (KeyboardInterrupt, OutOfTime):
                    raise
                except BaseException as error:  # the model is the user's, and may do anything with something else
                    trace = recording.trace if recording is not None else None
                    return Outcome(None, trace, seconds=worked() - began, part=self._part_of(error))
                outputs = tensors_of(output)
                if not all(isinstance(size, int) for tensor in outputs for size in tensor.shape):
                    raise CannotChange("the sizes of what it gives depend on values")
                drew = self.has_values and not random_state().same_as(state)
                return Outcome(outputs, None, drew, worked() - began)

    def _part_of(self, error: BaseException) -> Part | None:
        """The innermost module with others in it in which this was raised; None if it is the whole."""
        names = {module: name for name, module in self._model.named_modules()}
        calls = [call for call in calls_in(error) if call[0] in names]
        if calls and not calls[-1][0]._modules:
            calls.pop()
        if len(calls) < 2:
            return None
        module, inputs = calls[-1]
        return Part(names[module], inputs)

    def is_most(self, part: Part) -> bool:
        """Whether a part has more than half of the modules, so that little is left out when it is run alone."""
        inside = sum(1 for _ in self._model.get_submodule(part.path).modules())
        return 2 * inside > sum(1 for _ in self._model.modules())

    def _given_again(self, inputs: Inputs) -> tuple[tuple[Any, ...], dict[str, Any]]:
        leaves, form = tree_flatten((inputs.args, inputs.kwargs))
        args, kwargs = tree_unflatten([self._leaf(leaf) for leaf in leaves], form)
        return args, kwargs

    @contextmanager
    def _place(self) -> Iterator[None]:
        """Where tensors are made while the copy runs."""
        if self.has_values:
            yield
            return
        with fake(self._modules) if self._tensors == "fake" else META, SameDtypes():
            yield

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
        leaves = [self._leaf(leaf) for leaf in self._leaves]
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

    def _leaf(self, leaf: Any) -> Any:
        if isinstance(leaf, Tensor):
            if self.has_values:
                return leaf.detach().clone()
            return without_values(leaf, META if self._tensors == "meta" else torch.device("cpu"))
        return leaf if isinstance(leaf, nn.Module) else _copied_object(leaf)

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


def _copied(model: nn.Module, has_values: bool) -> nn.Module:
    """A copy that shares nothing with the model; CannotChange if it has something in it that cannot be copied.

    The user's own hooks are left out, which may tell somebody of each call.
    """
    memo: dict[int, Any] = {}
    if not has_values:
        for tensor in _tensors_in(model):
            empty = without_values(tensor, META)
            memo[id(tensor)] = nn.Parameter(empty, False) if isinstance(tensor, nn.Parameter) else empty
    copied: nn.Module = _copied_object(model, memo)
    for module in copied.modules():
        for hooks in (module._forward_pre_hooks, module._forward_hooks):
            for key in [key for key, hook in hooks.items() if _is_shared(hook)]:
                del hooks[key]
    return copied


def _copied_object(value: Any, memo: dict[int, Any] | None = None) -> Any:
    try:
        return copy.deepcopy(value, memo)
    except Exception:  # a lock, a file, a tensor with a graph: whatever the user has put in there
        raise CannotChange("it cannot be copied") from None


def _is_shared(hook: Any) -> bool:
    """Whether a hook is a function of the user's own, which no copy has for itself."""
    while isinstance(hook, partial):
        hook = hook.func
    return isinstance(hook, FunctionType) and "-packages" not in hook.__code__.co_filename


def _tensors_in(model: nn.Module) -> Iterator[Tensor]:
    for module in model.modules():
        yield from (leaf for leaf in tree_leaves(list(vars(module).values())) if isinstance(leaf, Tensor))


@contextmanager
def _leaving_nothing() -> Iterator[None]:
    """Silence, and afterwards the random states of before."""
    state = random_state()
    logging_was = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging_was)
        state.restore()
