"""Depth cuts a tree and says what it cut, but not what raised; guides stop where there is no room for them."""

from __future__ import annotations

from rich.cells import cell_len

from tests.helpers.drawings import blocks, failing, rows
from tests.helpers.traces import call, trace


def test_depth_cuts_and_says_what_it_cut() -> None:
    assert rows(blocks(2), depth=1) == [
        "Net               __call__ → forward  1×16  → 1×16        99  model.py:10",
        "├╴layers.0 Block  __call__ → forward  1×16  → 1×16     2,128  :10",
        "│   +2 calls, --depth 2 shows more",
        "├┄layers.0 … layers.1  ×2, same shapes  +3 calls, --no-fold shows them",
        "└╴norm LayerNorm  __call__ → forward  1×16  → 1×16        32  :10",
    ]


def test_depth_does_not_hide_what_raised() -> None:
    shown = "\n".join(rows(failing(), depth=0))
    assert "└╴1 Linear" in shown and "✗ RuntimeError" in shown and "Conv2d" not in shown
    assert "+1 call, --depth 2 shows more" in shown


def test_recursion_of_any_depth_stays_on_the_page() -> None:
    deep = trace(*(call(id, id - 1 if id else None, "rec" if id else "", "Rec", nth=id + 1) for id in range(2500)))
    shown = rows(deep)
    assert len(shown) == 2500
    assert shown[-1].lstrip("│ ").startswith("⋯2499 rec #2500 Rec")
    assert max(map(cell_len, shown)) <= 80
