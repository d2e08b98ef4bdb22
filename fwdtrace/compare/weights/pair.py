"""Pair: the two models between which weights are moved, with what all steps of the search share."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from fwdtrace.compare.parting.in_parts import cuts_into_rows
from fwdtrace.compare.parting.steps import Steps
from fwdtrace.compare.two_models.light_copy import light_copy
from fwdtrace.compare.two_models.recorded import MAX_BYTES, Recorded, Runnable, recorded
from fwdtrace.compare.two_models.watched import Doubles, not_fused, watch
from fwdtrace.compare.weight_map import Move
from fwdtrace.compare.weights.results import agree, results_with
from fwdtrace.compare.weights.units import Unit, laid_out, state_of, units_of
from fwdtrace.compare.weights.weight_values import Made, State, values_of

MOST_FORWARDS = 3
"""All searches together may take as long as so many calls of both models, and `MOST_SECONDS` besides."""
MOST_SECONDS = 2.0
MOST_CUTS = 3


@dataclass(frozen=True)
class Pair:
    """Both models, and what one run of the first left; what takes a while is worked out once, when it is asked for.

    `source` has the weights of the first as they were before it ran. `given` are moves that stay whatever is found.
    """

    before: Runnable
    after: Runnable
    source: State
    given: Mapping[str, Move]
    seed: int
    run: Recorded
    made: Made = field(default_factory=dict)
    doubles: Doubles = field(default_factory=dict)

    @cached_property
    def target(self) -> State:
        """The weights of the second model, as they were."""
        return state_of(self.after.model)

    @cached_property
    def shapes(self) -> dict[str, torch.Size]:
        """Their shapes."""
        return {name: each.shape for name, each in self.target.items()}

    @cached_property
    def parameters(self) -> list[str]:
        """The names of those that are no buffers."""
        return [name for name, _ in self.after.model.named_parameters(remove_duplicate=False) if name in self.target]

    @cached_property
    def ours(self) -> list[Unit]:
        """The units of the first model."""
        return units_of(self.run, self.before.model)

    @cached_property
    def laid_out(self) -> tuple[frozenset[str], frozenset[str]]:
        """The weights of both models that have a row for each output."""
        return laid_out(self.before.model), laid_out(self.after.model)

    @cached_property
    def steps(self) -> Steps:
        """The steps of the first model."""
        return watch(self.before, self.seed, self.doubles).steps

    def all_steps(self) -> Iterator[Steps]:
        """The steps of the first; then with what it held in each of the time steps that the second works on."""
        yield self.steps
        cuts = cuts_into_rows(watch(self.after, self.seed, self.doubles).steps)
        for cut in cuts[:MOST_CUTS]:
            yield watch(self.before, self.seed, self.doubles, parts_of=cut.parts_of).steps

    def lacks_any(self, moves: Mapping[str, Move]) -> bool:
        """Whether there is a parameter of the second model that is not among the moves."""
        return any(name not in moves for name in self.parameters)

    def values(self, moves: Mapping[str, Move]) -> dict[str, Tensor]:
        """The weights that the moves make."""
        return values_of(moves.values(), self.source, self.shapes, self.made)

    def agrees(self, moves: Mapping[str, Move]) -> bool:
        """Whether the second model gives with these weights what the first gave."""
        return agree(self.run.gave, results_with(self.after, self.seed, self.values(moves)))

    @property
    def has_time(self) -> bool:
        """Whether searches may go on; the time begins when this is first asked."""
        return time.monotonic() < self._ends

    @cached_property
    def _ends(self) -> float:
        began = time.monotonic()
        results_with(self.after, self.seed, {})
        now = time.monotonic()
        both = self.run.trace.run.duration_us / 1e6 + now - began
        return now + MOST_FORWARDS * both + MOST_SECONDS


def run_copy(runnable: Runnable, seed: int, *, ops: bool = False) -> Recorded:
    """The run of a copy, in which torch's fused layers run as the modules that they are made of."""
    model, args, kwargs = light_copy(runnable.model, runnable.args, runnable.kwargs)
    with not_fused():
        return recorded(Runnable(model, args, kwargs), seed, MAX_BYTES // 2, ops=ops)
