"""A chart puts modules inside those that call them."""

from __future__ import annotations

from fwdtrace.render.mermaid import mermaid_text
from tests.helpers.traces import call, trace


def test_a_chart_puts_modules_inside_those_that_call_them_and_arrows_in_order() -> None:
    written = mermaid_text(trace(call(0, None, "", "Net"), call(1, 0, "a", "Linear"), call(2, 0, "b", "Linear")))
    assert written.splitlines()[3:] == [
        'subgraph n0["Net · 1×16 → 1×16"]',
        "direction TB",
        'n1["a Linear<br>1×16 → 1×16"]',
        'n2["b Linear<br>1×16 → 1×16"]',
        "end",
        "n1 --> n2",
    ]


def test_a_chart_of_nothing_is_a_chart_without_nodes() -> None:
    assert mermaid_text(trace()).splitlines() == [
        "flowchart TB",
        "%% model.py:Net · torch 2.13.0 · eval, no grad · cpu · 1,234 parameters · 0 calls · 1.5 ms",
        "%% an arrow is the order of running, not a flow of data",
    ]
