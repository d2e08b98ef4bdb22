"""What each weight of a model first meets that depends on the input, and what comes of that."""

from __future__ import annotations

from dataclasses import dataclass

from fwdtrace.compare.numbers.contents import Content
from fwdtrace.compare.parting.steps import Steps


@dataclass(frozen=True)
class Use:
    """The `data` that a weight meets, and what it gives with that, or None if other matrices have a share in it."""

    data: Content
    alone: Content | None


def first_uses(steps: Steps) -> dict[str, Use]:
    """The first use of each weight, by itself or in what is made of weights."""
    made_of: dict[int, frozenset[str]] = {}
    found: dict[str, Use] = {}
    for step in steps.steps:
        held = [steps.held[number] for number in step.given]
        names = [
            frozenset((each.weight,)) if each.weight is not None else made_of.get(number, frozenset())
            for number, each in zip(step.given, held, strict=True)
        ]
        of = frozenset().union(*names)
        if not of:
            continue
        data = next((each.content for each in held if each.follows and each.content is not None), None)
        if data is not None:
            alone = all(len(each) < 2 for each in names) and len(step.gave) == 1
            gave = steps.held[step.gave[0]].content if alone else None
            found |= {name: Use(data, gave) for name in of if name not in found}
        elif not any(each.follows for each in held):
            made_of |= dict.fromkeys(step.gave, of)
    return found
