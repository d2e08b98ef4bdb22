"""A notebook shows the tree."""

from __future__ import annotations

import re

import pytest

from tests.helpers.drawings import HOSTILE, hostile
from tests.helpers.traces import lenet


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_a_notebook_shows_the_tree_with_all_text_as_text(text: str) -> None:
    piece = hostile(text)._repr_html_()
    assert set(re.findall(r"</?(\w+)", piece)) <= {"pre", "span"}
    assert "forward DIRECT" in lenet(direct=True)._repr_html_()
