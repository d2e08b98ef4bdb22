"""A Mermaid chart puts modules inside those that call them, and draws its arrows where Mermaid can draw them."""

from __future__ import annotations

from fwdtrace.render.mermaid import MOST_LETTERS, mermaid_text
from tests.helpers.traces import call, residual, trace

SPACES = '%%{init: {"flowchart": {"nodeSpacing": 20, "rankSpacing": 5, "padding": 8}}}%%'


def test_a_chart_puts_modules_inside_those_that_call_them_and_arrows_in_order() -> None:
    written = mermaid_text(trace(call(0, None, "", "Net"), call(1, 0, "a", "Linear"), call(2, 0, "b", "Linear")))
    assert written.splitlines()[4:] == [
        'subgraph n0["Net · 1×16 → 1×16"]',
        "direction TB",
        'n1["a Linear<br>1×16 → 1×16"]',
        'n2["b Linear<br>1×16 → 1×16"]',
        "n1 --> n2",
        "end",
    ]


def test_a_chart_of_nothing_is_a_chart_without_nodes() -> None:
    assert mermaid_text(trace()).splitlines() == [
        SPACES,
        "flowchart TB",
        "%% model.py:Net · torch 2.13.0 · eval, no grad · cpu · 1,234 parameters · 0 calls · 1.5 ms",
        "%% an arrow is the order of running, not a flow of data",
    ]


def test_arrows_are_the_ways_of_the_data_where_they_are_known() -> None:
    assert mermaid_text(residual()).splitlines()[3:] == [
        "%% an arrow is a way that data took",
        'subgraph n0["Net · 1×16 → 1×16"]',
        "direction TB",
        'n1["first Linear<br>→ 1×16"]',
        'n2("torch.relu_<br>→ 1×16")',
        'n3["second Linear<br>→ 1×16"]',
        'n4("#43;<br>→ 1×16")',
        "n1 --> n2",
        "n2 --> n3",
        "n3 --> n4",
        "n2 --> n4",
        "end",
        *("classDef op fill:none,stroke-dasharray:3", "class n2,n4 op"),
    ]


def test_the_arrows_in_a_module_are_written_in_it() -> None:
    inner = (call(n, 1, f"a.{n}", "Linear", (1, n), depth=2) for n in (2, 3))
    written = mermaid_text(trace(call(0, None, "", "Net"), call(1, 0, "a", "Block"), *inner, call(4, 0, "b", "Linear")))
    lines = written.splitlines()
    assert lines.index("n2 --> n3") < lines.index("end") < lines.index("n1 --> n4") < len(lines) - 1


def test_a_chart_is_as_long_as_mermaid_draws_it() -> None:
    calls = [call(0, None, "", "Net")]
    for block in range(4):
        above = len(calls)
        calls.append(call(above, 0, f"b{block}", "Block", (1, block + 1)))
        names = (f"b{block}.{'é!' * 300}{n}" for n in range(8))
        calls += [call(above + n, above, name, "Linear", (1, n), depth=2) for n, name in enumerate(names, 1)]
    assert len(mermaid_text(trace(*calls))) < MOST_LETTERS
    assert len(mermaid_text(trace(*calls), depth=2)) > len(mermaid_text(trace(*calls), depth=1))
