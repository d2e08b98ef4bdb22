"""A share of many like cases: some are of the sweep, the others of the long run."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pytest
from _pytest.mark import ParameterSet


def one_in(number: int, cases: Iterable[object]) -> list[ParameterSet]:
    """Parameters of a test: one in so many cases is of the sweep, the others are like it and wait for the long run."""
    return [
        pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=_mark(place % number == 0))
        for place, case in enumerate(cases)
    ]


def every_other_design(names: Iterable[str]) -> list[ParameterSet]:
    """Parameters of a test: of every other design, the first of the sizes that it has is of the sweep."""
    seen: dict[str, str] = {}
    parameters = []
    for name in names:
        design = re.sub(r"(?<!_v)\d+[a-z]*|_(tiny|small|base|large|[bhlmst])(?=_|\d|$)", "", name).replace("_", "")
        first = seen.setdefault(design, name)
        parameters.append(pytest.param(name, marks=_mark(first == name and len(seen) % 2 == 1)))
    return parameters


def _mark(is_of_sweep: bool) -> pytest.MarkDecorator:
    return pytest.mark.sweep if is_of_sweep else pytest.mark.long
