"""Findings of one code at one line are one to a person, in every form but JSON, and none is lost."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fwdtrace.render.findings import grouped
from fwdtrace.render.html import html_text
from fwdtrace.render.markdown import markdown_text
from fwdtrace.render.ranking import ranking_text
from fwdtrace.render.source import source_text
from fwdtrace.render.svg import svg_text
from fwdtrace.render.tree import tree_text
from fwdtrace.trace import Finding, Site, Trace
from tests.helpers.drawings import page_data
from tests.helpers.traces import call, document, trace


def site(line: int) -> Site:
    return Site("/home/user/model.py", line, "Block.forward", "x = self.conv.forward(x)")


def layers(number: int = 24) -> Trace:
    """Layers, in each of which two modules are run directly, at two lines."""
    calls = [call(0, None, "", "Net")]
    findings = []
    for layer in range(number):
        for name, line in (("conv", 12), ("norm", 13)):
            path = f"blocks.{layer}.{name}"
            calls.append(call(len(calls), 0, path, "Layer", entry="forward", site=site(line)))
            message = f"{path}.forward ran without __call__; call {path}(…) instead"
            findings.append(Finding("FT001", "direct-forward", calls[-1].id, message, site(line)))
    return trace(*calls, findings=tuple(findings))


def test_48_findings_of_two_lines_are_two_on_the_screen_and_48_in_json() -> None:
    text = tree_text(layers())
    assert text.split("\n\n")[-1].split("\n") == [
        "FT001 direct-forward  model.py:12",
        "  ×24: blocks.{0…23}.conv",
        "  blocks.0.conv.forward ran without __call__; call blocks.0.conv(…) instead",
        "FT001 direct-forward  model.py:13",
        "  ×24: blocks.{0…23}.norm",
        "  blocks.0.norm.forward ran without __call__; call blocks.0.norm(…) instead",
    ]
    assert len(document(layers())["findings"]) == 48


@pytest.mark.parametrize(
    "text",
    [
        tree_text(layers(), depth=0),
        tree_text(layers(), only=["nothing"]),
        ranking_text(layers(), by="time", top=1),
        source_text(layers()),
        source_text(layers(), only=["nothing"]),
        svg_text(layers()).replace("&#160;", " "),
        markdown_text(layers()).replace("\\", ""),
    ],
)
def test_no_form_loses_a_finding(text: str) -> None:
    assert text.count("×24: blocks.{0…23}.conv") == text.count("×24: blocks.{0…23}.norm") == 1


def test_a_page_has_the_groups_with_all_their_rows() -> None:
    view = page_data(html_text(layers()))["traces"][0]
    assert [finding["title"] for finding in view["findings"]] == ["FT001 direct-forward"] * 2
    assert [finding["rows"] for finding in view["findings"]] == [list(range(1, 48, 2)), list(range(2, 49, 2))]


def test_what_is_said_differently_at_one_line_is_all_said() -> None:
    first, second = layers(1).findings
    other = replace(second, message="something else", site=first.site)
    again = replace(other, message="something else again")
    (group,) = grouped(replace(layers(1), findings=(first, other, again, again)))
    assert group.messages == [first.message, "something else", "×2: blocks.0.norm", "something else again"]
    (group,) = grouped(replace(layers(1), findings=(*(replace(first, message="a" * n) for n in range(1, 6)),)))
    assert group.messages[-1] == "…2 more, --json has all"


def test_findings_without_a_line_are_one_only_if_they_say_the_same() -> None:
    findings = tuple(Finding("FT003", "never-called", None, text) for text in ("3 a", "4 a", "b"))
    assert [[each.message for each in group.findings] for group in grouped(trace(findings=findings))] == [
        ["3 a", "4 a"],
        ["b"],
    ]
