"""A pattern shows what it matches, with its callers, and the rest is counted."""

from __future__ import annotations

import pytest

from fwdtrace.render.markdown import markdown_text
from fwdtrace.render.mermaid import mermaid_text
from fwdtrace.render.only import only
from fwdtrace.render.ranking import ranking_text
from fwdtrace.render.tree import tree_text
from fwdtrace.trace import Op
from tests.helpers.drawings import blocks, rows
from tests.helpers.traces import call, lenet, trace


@pytest.mark.parametrize(
    ("pattern", "paths"),
    [
        ("layers.1.up", ["", "layers.1", "layers.1.up"]),
        ("1.up", ["", "layers.1", "layers.1.up"]),
        ("up", ["", "layers.0", "layers.0.up", "layers.1", "layers.1.up"]),
        ("layers.?", ["", "layers.0", "layers.1"]),
        ("Layer*", ["", "norm"]),
        ("L*r", ["", "layers.0", "layers.0.up", "layers.0.down", "layers.1", "layers.1.up", "layers.1.down"]),
        ("", [""]),
        ("absent", []),
    ],
)
def test_a_glob_matches_the_end_of_a_path_or_a_class(pattern: str, paths: list[str]) -> None:
    part, _ = only(blocks(2), [pattern])
    assert [call.path for call in part.calls] == paths


def test_an_op_is_matched_by_its_name_even_if_that_is_a_bracket() -> None:
    shown = trace(call(0, None, "", "Net"), ops=(Op(1, 0, "[]"), Op(2, 0, "F.relu"), Op(3, 0, "*")))
    assert [op.name for op in only(shown, ["[]"])[0].ops or ()] == ["[]"]
    assert [op.name for op in only(shown, ["F.*"])[0].ops or ()] == ["F.relu"]


def test_the_rest_is_counted_with_what_is_marked_in_it() -> None:
    assert rows(lenet(direct=True), only=["f6"]) == [
        "LeNet        __call__ → forward  1×3×32×32 → 1×10    62,006  model.py:5",
        "└╴f6 Linear  __call__ → forward  1×120     → 1×84    10,164  :29",
        "9 calls (1 direct) left out by --only 'f6'",
    ]
    assert "\n\n9 calls (1 direct) left out by" in markdown_text(lenet(direct=True), only=["f6"])
    assert "%% 9 calls (1 direct) left out by --only 'f6'" in mermaid_text(lenet(direct=True), only=["f6"])


def test_the_totals_stay_those_of_the_whole() -> None:
    assert "11 calls · 1.5 ms" in tree_text(lenet(), only=["f6"])


def test_a_pattern_that_matches_nothing_says_so() -> None:
    text = " ".join(tree_text(lenet(), only=["[red]f9"]).split())
    assert "nothing matches --only '[red]f9', a glob such as '*.attn'" in text and "all 11 calls left out" in text


def test_a_ranking_has_the_modules_that_match_alone() -> None:
    text = ranking_text(lenet(), by="parameters", top=9, only=["Linear"])
    assert [line.split()[0] for line in text.splitlines()[1:4]] == ["f5", "f6", "f7"]
    assert text.endswith("6 modules left out by --only 'Linear'")
