"""The verdict on a direct call and the fix, letter for letter, from differences made by hand; without torch."""

from __future__ import annotations

from typing import Any

import pytest

from fwdtrace.compare.difference import Difference, Severity, worst_first
from fwdtrace.compare.direct.comparison import (
    CHANGED_WEIGHTS,
    FIRST_STEP,
    SECOND_STEP,
    Carried,
    Experiment,
    Round,
    most_telling,
)
from fwdtrace.compare.direct.verdict import fix_of, verdict_of

ROOT = Experiment("", "model(x)", "model.forward(x)", rounds=(Round("train", "first step", ()),) * 2)
F5 = Experiment("f5", "f5(x)", "f5.forward(x)", rounds=(Round("eval", "first step", ()),))
PRUNED = Carried("", "Linear", "forward_pre", "torch.nn.utils.prune.L1Unstructured", "prune")


def difference(kind: str, severity: Severity, message: str, **fields: Any) -> Difference:
    return Difference(kind, severity, "", "a", "b", message, **fields)


OUTPUT = difference("output", "numbers", "the output differs", target="", mode="train", round=FIRST_STEP)
HOOK = difference("hook", "observation", "look runs once, never", target="")


def test_no_difference_says_what_was_run() -> None:
    assert verdict_of((), (ROOT,), ()) == (
        "No difference found: in 2 rounds (train mode) model.forward(x) and model(x) gave bit-identical outputs, "
        "gradients, buffers and random states, and no hook was lost."
    )
    assert verdict_of((), (F5, ROOT), ()).startswith(
        "No difference found: in 1 round (eval and train mode) calling and running directly each of 2 modules gave"
    )
    unreached = Experiment("f5", "f5(x)", "f5.forward(x)", reached=False)
    assert verdict_of((), (unreached,), ()) == (
        "Nothing to compare: the model never calls what was to be run directly."
    )
    assert fix_of((), (ROOT,), ()) == ""


def test_wrong_numbers_are_blamed_on_what_the_direct_call_skips() -> None:
    assert verdict_of((OUTPUT, HOOK), (ROOT,), (PRUNED,)) == (
        "model.forward(x) does not compute what model(x) computes, as it skips prune: the output differs (first step, "
        "train mode)."
    )
    assert fix_of((OUTPUT, HOOK), (ROOT,), (PRUNED,)) == (
        "write model(x) instead of model.forward(x); torch.nn.utils.prune.remove makes the pruning permanent"
    )


@pytest.mark.parametrize(
    ("severity", "claim"),
    [
        ("gradients", "f5.forward(x) does not train what f5(x) trains"),
        ("exception", "f5.forward(x) fails where f5(x) works"),
        ("rounding", "f5.forward(x) computes the same as f5(x) up to rounding"),
        ("cost", "f5.forward(x) computes the same as f5(x) at another cost"),
        ("observation", "f5.forward(x) computes the same as f5(x), unobserved"),
    ],
)
def test_the_worst_severity_makes_the_claim(severity: Severity, claim: str) -> None:
    found = difference("kind", severity, "because", target="f5")
    assert verdict_of((found,), (F5,), ()) == f"{claim}: because."


def test_more_hooks_and_more_modules_are_counted() -> None:
    hooks = tuple(difference("hook", "observation", f"hook {number}", target="f5") for number in range(3))
    text = verdict_of((*hooks, difference("hook", "observation", "other", target="")), (F5, ROOT), ())
    assert text == (
        "f5.forward(x) computes the same as f5(x), unobserved: hook 0, and 2 more hooks likewise "
        "(1 other module differs too)."
    )


def test_a_module_with_a_number_for_its_name_is_written_below_the_model() -> None:
    experiments = tuple(
        Experiment(f"{n}", f"model.{n}(x)", f"model.{n}.forward(x)", rounds=F5.rounds) for n in range(5)
    )
    found = tuple(difference("hook", "observation", "lost", target=f"{number}") for number in range(5))
    assert fix_of(found, experiments, ()) == (
        "write model.0(x) instead of model.0.forward(x), model.1(x) instead of model.1.forward(x), model.2(x) instead "
        "of model.2.forward(x) and 2 more"
    )


def test_differences_are_sorted_worst_first_and_keep_their_order_otherwise() -> None:
    cost, first, second = difference("c", "cost", ""), difference("1", "numbers", ""), difference("2", "numbers", "")
    assert worst_first([cost, first, second]) == (first, second, cost)


def test_most_telling_is_one_of_each_harmful_severity_and_the_one_that_names_the_cause() -> None:
    missing = difference("missing-gradient", "gradients", "none", round=FIRST_STEP)
    gradient = difference("gradient", "gradients", "other", round=FIRST_STEP)
    later = difference("output", "numbers", "as a consequence", round=SECOND_STEP)
    stale = difference("output", "numbers", "stale", round=CHANGED_WEIGHTS)
    assert most_telling([later, stale, gradient, missing, HOOK]) == [stale, missing]
    assert most_telling([later, HOOK]) == [later]
    assert most_telling([HOOK, difference("calls", "cost", "twice")]) == [HOOK]
