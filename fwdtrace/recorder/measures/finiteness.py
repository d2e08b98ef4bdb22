"""Elements that are not finite, if asked: which calls and ops gave NaN or infinity, and from which inputs."""

from __future__ import annotations

import weakref
from typing import Any

from torch import Tensor, nn

from fwdtrace.recorder.describe import tensors_of
from fwdtrace.recorder.measures.operands import non_finite_places, operand_of
from fwdtrace.recorder.measures.values import is_finite, version_of
from fwdtrace.recorder.notes import Note, OpenCall
from fwdtrace.recorder.session import Session
from fwdtrace.recorder.torch_internals import Unseen
from fwdtrace.recorder.tree import parameters_and_names
from fwdtrace.trace import NonFinite, Operand, TensorMeta


class Finiteness:
    """The measure of NaN and infinity. `found` has the calls and ops whose output was not finite."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.found: dict[Note, NonFinite] = {}
        self._spoiled_inputs: dict[Note, list[int]] = {}  # and the places of these among the tensors
        self._spoiled_parameters: dict[Note, list[tuple[str, Tensor]]] = {}  # that an op was given
        # Of the calls and ops that run: what they were given, and how many had been found.
        self._given: dict[Note, tuple[list[weakref.ref[Tensor]], int]] = {}
        # Tensors found finite, by id, with the version they had: the output of one call is the input of the next.
        self._finite: dict[int, tuple[weakref.ref[Tensor], int]] = {}

    def begins(self, note: Note, args: Any, kwargs: Any) -> None:
        """Look at the inputs."""
        if note.parent is None:
            self._given.clear()  # of what has raised
        tensors = tensors_of((args, kwargs))
        spoiled = [place for place, tensor in enumerate(tensors) if not self._is_finite(tensor)]
        if type(note) is not OpenCall and any(isinstance(tensors[place], nn.Parameter) for place in spoiled):
            named = self._parameters({id(tensors[place]) for place in spoiled})
            if named:
                self._spoiled_parameters[note] = named
                spoiled = [place for place in spoiled if not any(tensors[place] is each for _, each in named)]
        if spoiled:
            self._spoiled_inputs[note] = spoiled
        self._given[note] = list(map(weakref.ref, tensors)), len(self.found)

    def ends(self, note: Note, output: Any) -> None:
        """Look at the output, and at the inputs and the module's own parameters if the output is not finite."""
        given, found_before = self._given.pop(note, ([], -1))
        tensors = tensors_of(output)
        if all(self._is_finite(tensor) for tensor in tensors):
            return
        module = note.seen.module() if type(note) is OpenCall else None
        own = module._parameters.items() if module is not None else self._spoiled_parameters.pop(note, ())
        parameters = tuple(name for name, parameter in own if parameter is not None and not self._is_finite(parameter))
        nan, inf = (sum(counts) for counts in zip(*map(self._nan_and_inf, tensors), strict=True))
        spoiled = note in self._spoiled_inputs
        operands: tuple[Operand, ...] = ()
        if found_before == len(self.found) and not parameters:  # nothing inside it was found: it is the innermost
            operands = self._operands(note, given, next(each for each in tensors if not self._is_finite(each)), spoiled)
        names = [leaf.name for leaf in note.inputs if type(leaf) is TensorMeta] if note.parent is None else []
        inputs = tuple(names[place] for place in self._spoiled_inputs.get(note, ()) if place < len(names))
        self.found[note] = NonFinite(nan, inf, not spoiled, parameters, operands, inputs)

    def _operands(
        self, note: Note, given: list[weakref.ref[Tensor]], result: Tensor, spoiled: bool
    ) -> tuple[Operand, ...]:
        """The inputs where the result is not finite; nothing if what was wrong with it was wrong with an input."""
        alive = [tensor() for tensor in given]
        if spoiled and any(tensor is not None and self._nan_and_inf(tensor)[0] for tensor in alive):
            return ()
        places = non_finite_places(result)
        names = [leaf.name for leaf in note.inputs if type(leaf) is TensorMeta]
        pairs = zip(names, alive, strict=False)
        found = (operand_of(name, tensor, places) for name, tensor in pairs if tensor is not None)
        return tuple(operand for operand in found if operand is not None)

    def _parameters(self, ids: set[int]) -> list[tuple[str, Tensor]]:
        """Those of these tensors that are parameters of what is recorded, with their names."""
        roots = [recorded.root for recorded in self._session.recordings]
        return [pair for root in roots for pair in parameters_and_names(root) if id(pair[1]) in ids]

    def stop(self) -> None:
        """Nothing was put in place."""

    def _is_finite(self, tensor: Tensor) -> bool:
        known = self._finite.get(id(tensor))
        version = version_of(tensor)
        if known is not None and known[0]() is tensor and known[1] == version >= 0:
            return True
        if not is_finite(tensor):
            return False
        self._finite[id(tensor)] = weakref.ref(tensor), version
        return True

    def _nan_and_inf(self, tensor: Tensor) -> tuple[int, int]:
        with Unseen():
            if self._is_finite(tensor):
                return 0, 0
            return int(tensor.isnan().sum()), int(tensor.isinf().sum())
