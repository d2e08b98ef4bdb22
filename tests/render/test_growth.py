"""Numbers that grow: the letters, the lines and the chart, against expected text."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as xml

from fwdtrace.render.growth import Series, growth_lines, growth_svg, most_grown

UP = Series("up", (1.0, 10.0, 100.0, 1e7))
FLAT = Series("down", (1.0, 1.0, None, math.inf))


def test_bars_stand_on_one_logarithmic_scale_and_what_is_not_finite_is_marked() -> None:
    assert list(growth_lines("largest", [UP, FLAT], 80)) == [
        "largest:",
        "  up    ▁▂▃█  1 → 10 → 100 → 1e7",
        "  down  ▁▁ ✗  1 → 1 → — → not finite",
    ]


def test_of_many_numbers_the_first_and_the_last_ones_are_written() -> None:
    (_, line) = growth_lines("largest", [Series("x", (1.0, 2.0, 3.0, 4.0, 5.0, 6.0))], 80)
    assert line.endswith("  1 → … → 4 → 5 → 6")


def test_zeros_stand_below_all_other_numbers_and_equal_numbers_at_one_level() -> None:
    assert list(growth_lines("a", [Series("x", (0.0, 0.0))], 80)) == ["a:", "  x  ▁▁  0 → 0"]
    assert list(growth_lines("a", [Series("x", (0.0, 3.0, 3.0))], 80)) == ["a:", "  x  ▁██  0 → 3 → 3"]
    assert list(growth_lines("a", [Series("x", (3.0, 3.0))], 80)) == ["a:", "  x  ▁▁  3 → 3"]
    heights = re.findall(r'cy="([\d.]+)"', growth_svg("a", ["1", "2", "3"], [Series("x", (0.0, 1.0, 100.0))]))
    assert float(heights[0]) > float(heights[1]) > float(heights[2])


def test_without_a_series_there_are_no_lines() -> None:
    assert list(growth_lines("a", [], 80)) == []


def test_those_that_grew_most_are_chosen_in_their_order() -> None:
    steady = Series("steady", (5.0, 5.0))
    assert most_grown([FLAT, steady, UP], 2) == [FLAT, UP]


def test_a_chart_is_well_formed_and_has_a_line_and_a_name_for_each_series() -> None:
    text = growth_svg("<largest>", ["1", "2", "3", "now"], [UP, Series("<b>", FLAT.values)])
    svg = xml.fromstring(text)
    found = [each.tag.rpartition("}")[2] for each in svg.iter()]
    assert found.count("polyline") == 2
    texts = [each.text for each in svg.iter() if each.tag.endswith("text")]
    assert texts == ["<largest>, on a logarithmic scale", "1", "1e7", "1", "2", "3", "now", "up", "✗", "<b>"]
    assert svg[0].text == "<largest>"
    assert "style" not in text


def test_labels_that_would_touch_are_left_out_and_the_last_is_written() -> None:
    labels = [f"layers.{number}.attn" for number in range(12)]
    text = growth_svg("largest", labels, [Series("x", tuple(range(1, 13)))])
    assert re.findall(r"layers\.\d+", text) == ["layers.0", "layers.4", "layers.11"]
