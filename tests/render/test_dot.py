"""A graph for Graphviz has the boxes and arrows of a chart, and Graphviz itself reads every name in it as text."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

import pytest

from fwdtrace.render.dot import dot_text
from tests.helpers.commands import HANG
from tests.helpers.drawings import HOSTILE, hostile
from tests.helpers.traces import call, lenet, odd, residual, trace

DOT = shutil.which("dot")
needs_graphviz = pytest.mark.skipif(DOT is None, reason="there is no dot of Graphviz")


def drawn(text: str) -> Any:
    """What Graphviz makes of a graph."""
    assert DOT is not None
    ran = subprocess.run([DOT, "-Tjson"], input=text.encode(), capture_output=True, timeout=HANG)
    assert (ran.returncode, ran.stderr) == (0, b"")
    return json.loads(ran.stdout)


def test_modules_are_clusters_and_arrows_lead_from_what_gave_data_to_what_used_it() -> None:
    assert dot_text(residual()).splitlines()[2:] == [
        "// an arrow is a way that data took",
        'charset="UTF-8"; compound=true; newrank=true; nodesep=0.2; ranksep=0.3;',
        'fontname="sans-serif"; node [shape=box, fontname="sans-serif"];',
        r'subgraph cluster_n0 { label="Net · 1×16 → 1×16";',
        r'n1 [label="first Linear\n→ 1×16"];',
        r'n2 [label="torch.relu_\n→ 1×16", style="dashed,rounded"];',
        r'n3 [label="second Linear\n→ 1×16"];',
        r'n4 [label="+\n→ 1×16", style="dashed,rounded"];',
        "}",
        "n1 -> n2;",
        "n2 -> n3;",
        "n3 -> n4;",
        "n2 -> n4;",
        "}",
    ]


def test_an_arrow_between_modules_ends_at_their_borders() -> None:
    blocks = (
        *(call(1, 0, "a", "Block"), call(2, 1, "a.up", "Linear", depth=2), call(3, 1, "a.down", "Linear", depth=2)),
        *(call(4, 0, "b", "Block"), call(5, 4, "b.up", "Linear", depth=2), call(6, 4, "b.down", "Conv", depth=2)),
    )
    written = dot_text(trace(call(0, None, "", "Net"), *blocks)).splitlines()
    assert "n3 -> n5 [ltail=cluster_n1, lhead=cluster_n4];" in written
    assert "n2 -> n3;" in written


@needs_graphviz
def test_what_stands_side_by_side_is_in_order_of_running() -> None:
    calls = [call(0, None, "", "Net")]
    for block in range(4):
        above = len(calls)
        calls.append(call(above, 0, f"b{block}", "Block", (1, block + 1)))
        calls += [call(above + n, above, f"b{block}.l{n}", "Linear", (1, n), (1, block), depth=2) for n in range(1, 13)]
    calls.append(call(len(calls), 0, "last", "Linear"))
    graph = drawn(dot_text(trace(*calls)))
    places = {
        each["name"]: [float(part) for part in each["pos"].split(",")] for each in graph["objects"] if "pos" in each
    }
    firsts = [places[f"n{number}"] for number in (2, 15, 28, 41, 53)]
    assert [x for x, _ in firsts] == sorted(x for x, _ in firsts)
    assert len({y for _, y in firsts}) == 1
    assert places["n2"][1] > places["n3"][1] > places["n4"][1]


@needs_graphviz
@pytest.mark.parametrize("text", [*HOSTILE, "&lt;", "a\\nb", '\\"', "\\", "<b>x</b>", "{a|b}", "\\N"], ids=ascii)
def test_graphviz_reads_every_name_as_text(text: str) -> None:
    graph = drawn(dot_text(hostile(text), depth=5))
    labels = "".join(each.get("label", "") for each in graph["objects"])
    seen = text.splitlines()[0].strip("\x1b\u202e")
    assert seen.replace("\\", "\\\\").replace("&", "&amp;") in labels


@needs_graphviz
@pytest.mark.parametrize("seed", range(8))
def test_graphviz_draws_any_trace_at_all(seed: int) -> None:
    drawn(dot_text(odd(seed)))


@needs_graphviz
def test_graphviz_draws_a_plain_model() -> None:
    names = [each["name"] for each in drawn(dot_text(lenet(direct=True)))["objects"]]
    assert "cluster_n0" in names and "n8" in names
