"""The row that made the NaN, raised or got no gradient is marked in every form, and a fold says what it hides."""

from __future__ import annotations

from dataclasses import replace

from fwdtrace.render.dot import dot_text
from fwdtrace.render.html import html_text
from fwdtrace.render.markdown import markdown_text
from fwdtrace.render.marks import marks_of
from fwdtrace.render.mermaid import mermaid_text
from fwdtrace.render.svg import svg_text
from fwdtrace.render.tree import tree_text
from fwdtrace.trace import Finding, Gradient, NonFinite, Op, Site, Trace
from tests.helpers.drawings import blocks, page_data, rows
from tests.helpers.traces import call, tensor, trace

LINE = Site("/home/user/model.py", 7, "Net.forward", "x = x / 0")


def spoiled() -> Trace:
    """A division in a model makes NaN, which its second layer passes on."""
    calls = (
        call(0, None, "", "Net", nonfinite=NonFinite(4, 0, True)),
        call(2, 0, "fc", "Linear", nonfinite=NonFinite(4, 0, False)),
    )
    op = Op(1, 0, "/", (tensor(4),), (tensor(4),), LINE, nonfinite=NonFinite(4, 0, True))
    finding = Finding("FT005", "non-finite", 0, "/ in the model made 4 NaN", LINE)
    return trace(*calls, ops=(op,), findings=(finding,))


def without_gradient(layers: int = 4) -> Trace:
    """Blocks of which the `up` layers got no gradient."""
    shown = blocks(layers)
    gradients = [
        Gradient(f"layers.{layer}.{part}.weight", (4, 4), True, None if part == "up" else 1.0)
        for layer in range(layers)
        for part in ("up", "down")
    ]
    return replace(shown, gradients=tuple(gradients))


def test_the_op_that_made_the_nan_is_marked_and_not_the_call_around_it() -> None:
    assert marks_of(spoiled()) == {1: ("FT005 non-finite",)}
    assert [row.split()[0] for row in rows(spoiled(), 120) if "FT005" in row] == ["├╴/"]


def test_a_call_is_marked_where_the_finding_is_about_itself() -> None:
    shown = spoiled()
    root, layer = shown.calls
    layer = replace(layer, nonfinite=NonFinite(4, 0, True))
    finding = replace(shown.findings[0], call=2, site=layer.site)
    assert marks_of(replace(shown, calls=(root, layer), ops=(), findings=(finding,))) == {2: ("FT005 non-finite",)}


def test_every_form_has_the_mark() -> None:
    assert "│ " not in tree_text(spoiled(), width=200)
    for text in (
        tree_text(spoiled()).partition("\n\n")[2].partition("\n\n")[0],
        svg_text(spoiled()).partition("calls")[0],
    ):
        assert text.replace("&#160;", " ").count("FT005 non-finite") == 1
    (line,) = (line for line in markdown_text(spoiled()).splitlines() if line.startswith("| &emsp;`/`"))
    assert "**FT005 non-finite**" in line
    chart = mermaid_text(spoiled()).splitlines()
    assert "class n1 marked" in chart and any("FT005 non-finite" in line for line in chart if line.startswith("n1["))
    assert any("FT005 non-finite" in line and "#fff8c5" in line for line in dot_text(spoiled()).splitlines())
    assert page_data(html_text(spoiled()))["traces"][0]["marks"] == {"1": ["FT005 non-finite"]}


def test_a_module_of_which_no_parameter_got_a_gradient_is_marked() -> None:
    shown = without_gradient()
    assert {shown.call(id).path: texts for id, texts in marks_of(shown).items()} == {
        f"layers.{layer}.up": ("no gradient",) for layer in range(4)
    }
    finding = Finding("FT008", "no-gradient", 2, "layers.0.up got no gradient")
    assert marks_of(replace(shown, findings=(finding,)))[2] == ("FT008 no-gradient",), "said once"
    none = tuple(replace(gradient, norm=None) for gradient in shown.gradients or ())
    assert marks_of(replace(shown, gradients=none)) == {}, "the finding says that none has one"


def test_a_fold_says_what_marked_things_it_hides() -> None:
    text = tree_text(without_gradient(), width=120)
    assert "×4, same shapes  +9 calls (3 no gradient), --no-fold shows them" in text
    assert "(3 no gradient)" in markdown_text(without_gradient())
    assert "3 no gradient" in mermaid_text(without_gradient())
    assert "+9 calls (3 no gradient)" in str(page_data(html_text(without_gradient()))["traces"][0]["folds"])
    direct = trace(call(0, None, "", "Net"), *(call(n, 0, f"a.{n}", "A", entry="forward") for n in range(1, 6)))
    assert "+4 calls (4 direct), --no-fold shows them" in tree_text(direct, width=120)


def test_a_block_with_a_mark_does_not_fold_into_those_without() -> None:
    shown = without_gradient()
    gradients = tuple(
        replace(each, norm=1.0) if "layers.3" not in each.name else each for each in shown.gradients or ()
    )
    part = replace(shown, gradients=gradients)
    text = tree_text(part, width=120, columns=["output"])
    assert "layers.0 … layers.2  ×3" in text and text.count("no gradient") == 1 + text.count("(2 no gradient)")


def test_where_a_column_says_none_there_is_no_second_line_for_it() -> None:
    with_column = tree_text(without_gradient(), width=120, fold=False).partition("\n\n9")[0]
    assert " none" in with_column and "no gradient" not in with_column
    without_column = tree_text(without_gradient(), width=120, fold=False, columns=["output"]).partition("\n\n9")[0]
    assert without_column.count("no gradient") == 4


def test_what_the_depth_leaves_out_says_what_is_marked_in_it() -> None:
    assert "+2 calls (1 no gradient), --depth 2 shows more" in tree_text(without_gradient(), depth=1)
