"""A chart puts modules inside those that call them."""

from __future__ import annotations

from dataclasses import replace

from fwdtrace.render.mermaid import mermaid_text
from fwdtrace.trace import Source, TensorMeta
from tests.helpers.traces import call, residual, tensor, trace


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


def test_arrows_are_the_ways_of_the_data_where_they_are_known() -> None:
    written = mermaid_text(residual())
    assert written.splitlines()[2:] == [
        "%% an arrow is a way that data took",
        'subgraph n0["Net · 1×16 → 1×16"]',
        "direction TB",
        'n1["first Linear<br>1×16 → 1×16"]',
        'n2("torch.relu_<br>1×16 → 1×16")',
        'n3["second Linear<br>1×16 → 1×16"]',
        'n4("#43;<br>1×16, +2 → 1×16")',
        "end",
        "n1 --> n2",
        "n2 --> n3",
        "n3 --> n4",
        "n2 --> n4",
        *("classDef op fill:none,stroke-dasharray:3", "class n2,n4 op"),
    ]


def test_what_the_depth_leaves_out_counts_for_the_call_that_is_shown() -> None:
    def made(id: int) -> tuple[TensorMeta, ...]:
        return (replace(tensor(1, 16), source=Source(id, 0)),)

    deep = trace(
        call(0, None, "", "Net"),
        call(1, 0, "a", "Block", outputs=made(2)),
        call(2, 1, "a.inner", "Linear", depth=2, outputs=made(2)),
        call(3, 0, "b", "Block", inputs=made(2), outputs=made(4)),
        call(4, 3, "b.inner", "Linear", depth=2, inputs=made(2), outputs=made(4)),
    )
    assert "n1 --> n2" in mermaid_text(deep, depth=1).splitlines()
    assert "n2 --> n4" in mermaid_text(deep).splitlines()
