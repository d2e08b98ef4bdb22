"""Values that are printed are drawn by the renderer that is named for them."""

from __future__ import annotations

import pytest

from fwdtrace.render.notebook import notebook_html
from fwdtrace.render.tree import tree_text
from fwdtrace.trace.views import VIEWS, view
from tests.helpers.traces import lenet


def test_printing_a_trace_prints_its_tree_at_80_columns() -> None:
    assert str(lenet()) == tree_text(lenet(), width=80)


def test_a_notebook_shows_the_coloured_tree() -> None:
    assert lenet()._repr_html_() == notebook_html(lenet())


@pytest.mark.parametrize("name", VIEWS)
def test_every_view_names_a_function_that_is_there(name: str) -> None:
    assert callable(view(name))


def test_there_is_no_view_of_another_name() -> None:
    with pytest.raises(KeyError):
        view("hologram")
