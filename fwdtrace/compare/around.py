"""What was around two runs and is not the same: versions, variables of the environment, settings, threads, seeds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fwdtrace.trace import Trace

RANDOM_STATE = "random state"
"""The name of the digest of the random generator's state, which is no number that a person can read."""


OPTIMIZER = "optimizer"
"""How the names of an optimizer's settings begin."""


@dataclass(frozen=True, slots=True)
class Around:
    """One thing that was set otherwise around two runs; `first` and `second` are the two sides, None where unset."""

    name: str
    first: str | None
    second: str | None

    @property
    def text(self) -> str:
        """In words: `OMP_NUM_THREADS: 1 became 4`."""
        if self.name == RANDOM_STATE:
            return "the random generator was in another state"
        return f"{self.name}: {self.first or 'not set'} became {self.second or 'not set'}"


def differences_around(before: Trace, after: Trace) -> tuple[Around, ...]:
    """All that is known of both runs and differs; a variable of the environment also where one of them lacks it."""
    if not before.run.around or not after.run.around:
        return ()
    ours, theirs = ({value.name: value.value for value in trace.run.around} for trace in (before, after))
    ours, theirs = {"python": before.versions.python, **ours}, {"python": after.versions.python, **theirs}
    return tuple(
        Around(name, ours.get(name), theirs.get(name))
        for name in dict.fromkeys([*ours, *theirs])
        if ours.get(name) != theirs.get(name) and ((name in ours and name in theirs) or name.isupper())
    )


def settings_of_optimizer(around: Iterable[Around]) -> tuple[Around, ...]:
    """Those that are about the optimizer that stepped after the call."""
    return tuple(each for each in around if each.name.startswith(OPTIMIZER))
