"""What was measured of a call is one number for each key, and nothing where it was not measured."""

from __future__ import annotations

import math
from dataclasses import replace

from fwdtrace.render.numbers import NO_GRADIENT, Key, Numbers
from fwdtrace.render.tree import tree_text
from fwdtrace.trace import Gradient, NonFinite, Trace
from tests.helpers.drawings import drawn, row_of
from tests.helpers.traces import call, measured, on_a_device, trace


def numbers(key: Key, shown: Trace) -> list[float | None]:
    table = Numbers(shown)
    return [table.of(each, key) for each in shown.calls]


def test_own_time_is_that_without_the_calls_inside() -> None:
    assert numbers("time", measured()) == [1000.0, 100.0, 100.0, 100.0]
    assert numbers("self", measured()) == [700.0, 100.0, 100.0, 100.0]
    assert (
        numbers("time", trace(call(0, None, "", "Net"))) == numbers("self", trace(call(0, None, "", "Net"))) == [None]
    )


def test_memory_is_the_peak_of_a_device_or_what_was_returned() -> None:
    assert numbers("memory", on_a_device()) == [3 * 2**20, 2**20, 0]
    assert numbers("memory", measured()) == [64.0] * 4


def test_the_gradient_of_a_module_is_the_norm_over_all_its_parameters() -> None:
    assert numbers("grad", measured()) == [5.0, 5.0, NO_GRADIENT, None]
    broken = replace(measured(), gradients=(Gradient("up.weight", (4,), True, 1.0, nan=1),))
    assert [number is not None and math.isnan(number) for number in numbers("grad", broken)] == [
        True,
        True,
        False,
        False,
    ]


def test_a_gradient_that_is_not_finite_has_no_bar_and_leaves_the_others_theirs() -> None:
    gradients = (Gradient("up.weight", (4,), True, 1.0, nan=1), Gradient("down.weight", (4,), True, 2.0))
    shown = replace(measured(), gradients=gradients)
    assert row_of("up", shown).split()[-2] == "nan"
    assert row_of("down", shown).split()[-3:-1] == ["2", "████"]


def test_what_is_not_finite_is_counted_from_either_measure() -> None:
    assert numbers("nan", measured()) == [None, None, 7, None]
    assert numbers("nan", trace(call(0, None, "", "Net", nonfinite=NonFinite(2, 3, True)))) == [5]


def test_every_number_that_was_asked_for_is_in_the_tree_at_80_columns() -> None:
    assert tree_text(measured(), width=80).partition("\n\n4 calls")[0] == drawn(
        """
        model.py:Net · torch 2.13.0 · eval, no grad · cpu · 1,234 parameters

        module          input → output params FLOPs   mean±std  min…max  NaN grad
        Net             1×16  → 1×16       48  8.0k      1±0.25  -1…1234        5 ████
        ├╴up Linear     1×16  → 1×16       16  4.0k    0.5±0.25  -1…1234        5 ████
        ├╴down Linear   1×16  → 1×16       16  4.0k 1.5e-5±0.25  -1…1234   7 none
        └╴frozen Linear 1×16  → 1×16       16  4.0k      0±0.25  -1…1234
        mean, std, min and max: those of the output
        NaN: how many elements of the output are NaN or infinite
        grad: the norm over a module's parameters; a cell of the bar is a factor of ten
        too narrow for the column from
        """
    )


def test_a_bar_is_a_cell_shorter_for_each_factor_of_ten() -> None:
    shown = trace(
        *(call(number, None, f"a{number}", "Linear") for number in range(6)),
        gradients=tuple(Gradient(f"a{number}.weight", (1,), True, 10.0**-number) for number in range(6)),
    )
    bars = [Numbers(shown).bar(10.0**-number).count("█") for number in range(6)]
    assert bars == [4, 3, 2, 1, 1, 1] and Numbers(shown).bar(0.0) == ""
    assert row_of("a1", shown).count("█") == 3
