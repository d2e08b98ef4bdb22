"""Calls of two traces with other names belong together if they gave the same, or were given the same."""

from __future__ import annotations

from fwdtrace.compare.by_content import Summaries, SummariesOf, Summary, paired_by_content
from fwdtrace.trace import Call, Stats
from tests.helpers.traces import call


def summary(mean: float, count: int = 6) -> Summary:
    return Summary(count, Stats(mean=mean, std=1.0, min=mean - 2.0, max=mean + 2.0, zeros=0, nan=0, inf=0))


def of(rows: dict[int, tuple[float, float]], counts: dict[int, int] | None = None) -> SummariesOf:
    """From a call to what it was given and gave, by their means."""

    def sides(one: Call) -> Summaries:
        given, gave = rows[one.id]
        return (summary(given),), (summary(gave, (counts or {}).get(one.id, 6)),)

    return sides


def calls(*classes: str) -> list[Call]:
    return [call(number, 0, f"{name}{number}", name) for number, name in enumerate(classes)]


def paired(ours: list[Call], theirs: list[Call], before: SummariesOf, after: SummariesOf) -> list[tuple[int, int]]:
    return [(one.id, two.id) for one, two in paired_by_content(ours, theirs, before, after)]


def test_calls_that_give_the_same_belong_together_in_whatever_order_they_run() -> None:
    before, after = of({0: (1.0, 2.0), 1: (1.0, 3.0)}), of({0: (1.0, 3.0), 1: (1.0, 2.000001)})
    assert paired(calls("Linear", "Linear"), calls("Linear", "Linear"), before, after) == [(0, 1), (1, 0)]


def test_a_call_that_is_given_the_same_and_gives_something_else_belongs_to_what_is_given_the_same() -> None:
    before, after = of({0: (1.0, 2.0), 1: (2.0, 3.0)}), of({0: (1.0, 2.0), 1: (2.0, 4.0)})
    assert paired(calls("Linear", "GELU"), calls("Linear", "ReLU"), before, after) == [(0, 0), (1, 1)]


def test_a_dropout_does_not_take_the_place_of_what_gave_it_its_input() -> None:
    before, after = of({0: (1.0, 2.0), 1: (2.0, 2.0)}), of({0: (1.0, 2.0)})
    assert paired(calls("Conv1D", "Dropout"), calls("Linear"), before, after) == [(0, 0)]


def test_among_several_the_one_of_the_same_class_is_taken() -> None:
    before, after = of({0: (1.0, 2.0)}), of({0: (1.0, 2.0), 1: (1.0, 2.0)})
    assert paired(calls("Linear"), calls("Conv1d", "Linear"), before, after) == [(0, 1)]


def test_calls_that_give_as_many_elements_of_other_sizes_are_left_alone() -> None:
    before, after = of({0: (1.0, 2.0)}), of({0: (5.0, 9.0)})
    assert paired(calls("Linear"), calls("Linear"), before, after) == []
    assert paired(calls("Linear"), calls("Linear"), before, of({0: (1.0, 9.0)}, {0: 12})) == []
