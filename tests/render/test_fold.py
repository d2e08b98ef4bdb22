"""Equal siblings fold into one row, which says how often they come and how much it hides."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fwdtrace.render.tree import tree_text
from fwdtrace.trace import CallError, Hook, NonFinite, Value
from tests.helpers.drawings import blocks, rows
from tests.helpers.traces import call, tensor, trace


def test_no_fold_shows_every_block() -> None:
    shown = rows(blocks(12), fold=False)
    assert len(shown) == 38
    assert sum("Block" in row for row in shown) == 12


@pytest.mark.parametrize(
    "difference",
    [
        {"class_name": "OtherBlock"},
        {"entry": "forward"},
        {"outputs": (tensor(1, 17),)},
        {"outputs": (tensor(1, 16, dtype="bfloat16"),)},
        {"parameters": 3000},
        {"hooks": (Hook("forward", "look", True),)},
        {"error": CallError("ValueError", "no")},
        {"line": 99},
        {"thread": "worker"},
        {"opaque": "compiled"},
        {"path": "layers.7"},
        {"path": "last"},
        {"chain": ("Module.__call__", "Block.forward")},
        {"nonfinite": NonFinite(1, 0, True)},
    ],
)
def test_a_block_that_differs_is_not_folded(difference: dict[str, Any]) -> None:
    shown = blocks(4)
    calls = list(shown.calls)
    at = next(number for number, made in enumerate(calls) if made.path == "layers.3")
    site = calls[at].site
    if "line" in difference and site is not None:
        difference = {"site": replace(site, line=99)}
    calls[at] = replace(calls[at], **difference)
    folded = "\n".join(rows(replace(shown, calls=tuple(calls))))
    assert "layers.0 … layers.2  ×3, same shapes" in folded


def test_what_differs_below_a_block_keeps_it_from_folding() -> None:
    calls = list(blocks(4).calls)
    calls[-2] = replace(calls[-2], outputs=(tensor(1, 99),))
    assert "layers.0 … layers.2  ×3" in "\n".join(rows(replace(blocks(4), calls=tuple(calls))))


def test_blocks_that_run_backwards_or_in_steps_fold_and_those_in_disorder_do_not() -> None:
    def run(*order: int) -> str:
        return "\n".join(
            rows(trace(call(0, None, "", "Net"), *(call(n + 1, 0, f"a.{i}", "A") for n, i in enumerate(order))))
        )

    assert "a.5 … a.2  ×4" in run(5, 4, 3, 2)
    assert "a.0 … a.6  ×4" in run(0, 2, 4, 6)
    assert "same shapes" not in run(0, 2, 1, 3)
    assert "same shapes" not in run(0, 1, 3, 2)


def test_folding_that_would_save_no_row_is_not_done() -> None:
    two = trace(call(0, None, "", "Net"), call(1, 0, "a.0", "A"), call(2, 0, "a.1", "A"))
    assert len(rows(two)) == 3 and "same shapes" not in tree_text(two)


def test_a_cache_that_grows_from_layer_to_layer_is_named() -> None:
    calls = [call(0, None, "", "Net")]
    for index in range(6):
        cache = tuple(tensor(1, 2, 7, name=f"cache.layers[{layer}].keys") for layer in range(index))
        inputs = (tensor(1, 16, name="x"), Value("index", str(index)), *(cache or (Value("cache", "Cache(…)"),)))
        calls.append(call(index + 1, 0, f"layers.{index}", "Block", inputs=inputs))
    assert rows(trace(*calls))[2:] == [
        "└┄layers.0 … layers.5  ×6, same shapes but in cache",
        "    +5 calls, --no-fold shows them",
    ]


def test_a_loop_of_two_modules_folds() -> None:
    steps = (
        made
        for step in range(20)
        for made in (
            call(2 * step + 1, 0, "cell", "Cell", nth=step + 1),
            call(2 * step + 2, 0, "out", "Linear", nth=step + 1),
        )
    )
    assert rows(trace(call(0, None, "", "Net"), *steps))[1:] == [
        "├╴cell Cell   __call__ → forward  1×16  → 1×16    :10",
        "├╴out Linear  __call__ → forward  1×16  → 1×16    :10",
        "└┄cell #1, out #1 … cell #20, out #20  ×20, same shapes",
        "    +38 calls, --no-fold shows them",
    ]


def test_the_same_call_of_the_root_again_and_again_folds() -> None:
    calls = [
        made
        for n in range(9)
        for made in (call(2 * n, None, "", "Net", nth=n + 1), call(2 * n + 1, 2 * n, "a", "A", nth=n + 1))
    ]
    assert rows(trace(*calls))[2] == "Net #1 … Net #9  ×9, same shapes  +16 calls, --no-fold shows them"


def test_very_many_calls_fold_into_a_few_rows() -> None:
    calls = [call(0, None, "", "Net")]
    for layer in range(3_000):
        calls.append(call(len(calls), 0, f"layers.{layer}", "Block"))
        parent = calls[-1].id
        calls += [call(parent + 1 + part, parent, f"layers.{layer}.{part}", "Linear", depth=2) for part in range(9)]
    assert [row.split("  ")[0] for row in rows(trace(*calls), 160)] == [
        "Net",
        "├╴layers.0 Block",
        "│ ├╴0 Linear",
        "│ └┄0 … 8",
        "└┄layers.0 … layers.2999",
    ]
