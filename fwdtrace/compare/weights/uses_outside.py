"""The weights that a model uses without a call of the module that holds them, as `functional.linear(x, up.weight)`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from fwdtrace.compare.numbers.tensors import tensors_in
from fwdtrace.compare.weights.units import State, Unit
from fwdtrace.trace import Trace
from fwdtrace.trace import tensors_in as leaves_in

Form = tuple[bool, tuple[int, ...]]
"""Whether a weight has one dimension, and its sizes in any order: another of the same form may be taken for it."""


class UsesOutside(TorchFunctionMode):
    """Notes the forms of weights of which a function of torch makes a tensor while no unit runs that holds them."""

    def __init__(self, model: nn.Module, units: Iterable[Unit], state: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.forms: set[Form] = set()
        self._weights = {id(each) for each in model.parameters()}
        self._open: list[frozenset[int]] = []
        self.handles = []
        for unit in units:
            held = frozenset(id(state[name]) for name in unit.names.values())
            module = model.get_submodule(unit.path)
            self.handles.append(module.register_forward_pre_hook(lambda *_, held=held: self._open.append(held)))
            self.handles.append(module.register_forward_hook(self._ends, always_call=True))

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the function."""
        result = function(*args, **(kwargs or {}))
        used = [each for each in tensors_in((args, kwargs)) if id(each) in self._weights]
        if used and tensors_in(result):
            self.forms.update(form_of(each) for each in used if not any(id(each) in held for held in self._open))
        return result

    def _ends(self, *_: Any) -> None:
        if self._open:
            self._open.pop()


def forms_outside(trace: Trace, units: Iterable[Unit], state: State) -> set[Form]:
    """The forms of weights that an op of a run was given that was in no call of a unit that holds them."""
    held = {unit.path: {memory_of(state[name]) for name in unit.names.values()} for unit in units}
    found = set()
    for op in trace.ops or ():
        for leaf in leaves_in(op.inputs):
            weight = state.get(leaf.source.parameter or "") if leaf.source is not None else None
            if weight is None:
                continue
            memory = memory_of(weight)
            if not any(memory in held.get(call.path or "", ()) for call in trace.callers(op)):
                found.add(form_of(weight))
    return found


def forms_of(units: Iterable[Unit], state: State) -> set[Form]:
    """The forms of all weights of these units."""
    return {form_of(state[name]) for unit in units for name in unit.names.values()}


def form_of(tensor: Tensor) -> Form:
    """The form of a weight."""
    return tensor.dim() == 1, tuple(sorted(size for size in tensor.shape if size != 1))


def memory_of(tensor: Tensor) -> tuple[int, tuple[int, ...]]:
    """What all names of one tensor have in common."""
    return tensor.data_ptr(), tuple(tensor.shape)
