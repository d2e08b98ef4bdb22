"""Options that belong together reach a command as one value, and are those that the rooms below know."""

from __future__ import annotations

import inspect
from dataclasses import asdict

from fwdtrace.cli.options import Chosen, Measured, Seed, Shown, Variation, as_typer_takes_it
from fwdtrace.program.observed import Program
from fwdtrace.run.once import Measures
from fwdtrace.run.two import TwoRunsPlan


def test_a_command_gets_a_set_of_options_as_one_value_and_typer_gets_each_option() -> None:
    given: list[tuple[int, Shown]] = []

    def command(shown: Shown, seed: Seed = 0) -> None:
        """Show it."""
        given.append((seed, shown))

    flat = as_typer_takes_it(command)
    assert list(inspect.signature(flat).parameters) == ["seed", "source", "sort", "top", "depth", "no_fold", "columns"]
    flat(seed=3, source=True, sort=None, top=20, depth=1, no_fold=False, columns="input,time")
    assert given == [(3, Shown(source=True, depth=1, columns="input,time"))]
    assert (flat.__name__, flat.__doc__) == ("command", "Show it.")


def test_what_is_measured_has_the_names_and_the_defaults_that_a_run_knows() -> None:
    assert asdict(Measured()) == asdict(Measures())


def test_a_plan_knows_what_is_chosen_and_what_is_varied() -> None:
    assert asdict(Chosen()).items() <= asdict(Program("train.py")).items()
    assert asdict(Variation()).items() <= asdict(TwoRunsPlan("lenet")).items()
