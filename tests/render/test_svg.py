"""A picture of the tree needs nothing else."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

from fwdtrace.render.svg import svg_text
from fwdtrace.render.tree import tree_text
from tests.helpers.traces import lenet, measured


def test_a_picture_is_an_image_that_needs_nothing_else() -> None:
    picture = svg_text(lenet(direct=True))
    root = ElementTree.fromstring(picture)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "@import" not in picture and "url(http" not in picture and "href" not in picture
    text = "".join(root.itertext()).replace("\xa0", " ")
    assert "f5 Linear" in text and "forward DIRECT" in text


def test_a_picture_has_the_same_styles_for_a_light_page_as_for_a_dark_one() -> None:
    dark, light = svg_text(lenet(direct=True)).partition("</style>")[0].split("@media (prefers-color-scheme: light)")
    styles = re.compile(r"^\.fwdtrace-(\w+) \{", re.MULTILINE)
    assert styles.findall(dark)[1:] == styles.findall(light)
    assert "#ff7b72" in dark and "#ff7b72" not in light


def test_a_picture_is_as_wide_as_all_of_its_columns_need() -> None:
    def text_of(width: int) -> str:
        return "".join(ElementTree.fromstring(svg_text(measured(), width=width)).itertext()).replace("\xa0", " ")

    assert "too narrow for the column" in tree_text(measured(), width=60)
    assert "too narrow" not in text_of(60)
    assert all(title in text_of(60) for title in ("input", "output", "params", "FLOPs", "mean", "grad", "from"))
    assert len(svg_text(lenet(), width=100)) == len(svg_text(lenet(), width=140))
