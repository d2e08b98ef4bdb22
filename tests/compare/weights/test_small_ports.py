"""Small ports: equal with every weight moved, and with one planted bug the line of it is named."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest
import torch

import fwdtrace
from fwdtrace.compare.comparison import TraceComparison
from fwdtrace.run.convert import convert_checkpoint
from fwdtrace.run.two import TwoRunsPlan, compare_two
from tests.helpers import small_ports

PAIRS = {
    "Bare": ("Scaled", "2x6:int64:0..40", "scale kind half mean"),
    "Cells": ("Recurrent", "2x5x16", "reset repeat"),
    "Attention": ("Attention", "2x5x16", "divisor"),
    "Clips": ("Clipped", "2x3x6x6", "clip"),
    "Plain": ("Normed", "2x4x16", "sigmoid"),
    "Normed": ("Straight", "2x4x16", ""),
    "Looped": ("Gathered", "2x6x16", "norm order"),
    "Summed": ("Placed", "2x6:int64:0..40", "shifted"),
}
"""By the second model the first, what both are called with, and the bugs of the second."""
BUGS = [(second, bug) for second, (_, _, bugs) in PAIRS.items() for bug in bugs.split()]


def compared(second: str, bug: str = "") -> TraceComparison:
    first, shape, bugs = PAIRS[second]
    settings = f"way='in steps', bug={bug!r}" if first == second else f"bug={bug!r}"
    settings = settings if bug or bugs else ""
    specs = [f"{small_ports.__name__}:{name}" for name in (first, f"{second}({settings})")]
    return compare_two(TwoRunsPlan(*specs, inputs=(shape,), same_init=True)).comparison


@pytest.mark.parametrize("second", PAIRS)
def test_a_port_is_equal_with_every_weight_moved(second: str) -> None:
    found = compared(second)
    assert found.equal, found.verdict
    assert found.weights is not None and len(found.weights.moves) == found.weights.of


def test_the_weights_that_no_module_holds_are_those_of_the_same_use() -> None:
    weights = compared("Bare").weights
    assert weights is not None
    moved = {move.target: move.pieces[0].name for move in weights.moves if ".g" in move.target}
    assert moved == {f"layers.{n}.g{k}": f"blocks.{n}.ls{k}.gamma" for n in (0, 1) for k in (1, 2)}


def test_a_checkpoint_with_weight_norm_is_converted_to_plain_weights(tmp_path: Path) -> None:
    specs = [f"{small_ports.__name__}:{name}" for name in ("Normed", "Plain")]
    checkpoint, file, output = (tmp_path / name for name in ("a.pt", "map.json", "b.pt"))
    found = compare_two(TwoRunsPlan(*specs, inputs=("2x4x16",), same_init=True, save_map=file)).comparison
    found.save(tmp_path / "found.json")
    schema = Path(fwdtrace.__file__).parent / "trace" / "schema" / "comparison-1.json"
    jsonschema.validate(*(json.loads(each.read_text(encoding="utf-8")) for each in (tmp_path / "found.json", schema)))
    normed, plain, x = small_ports.Normed(), small_ports.Plain(), torch.randn(2, 4, 16)
    torch.save(normed.state_dict(), checkpoint)
    convert_checkpoint(checkpoint, file, output)
    plain.load_state_dict(torch.load(output))
    torch.testing.assert_close(plain(x), normed(x))


@pytest.mark.parametrize(("second", "bug"), BUGS)
def test_the_line_of_a_planted_bug_is_named(second: str, bug: str) -> None:
    found = compared(second, bug)
    assert not found.equal
    lines = Path(small_ports.__file__).read_text(encoding="utf-8").splitlines()
    marked = next(number for number, line in enumerate(lines, 1) if line.endswith(f"# {bug}"))
    assert re.search(rf"small_ports\.py:{marked}\b", found.verdict), found.verdict


def test_what_is_left_out_is_named_with_the_lines_around_it() -> None:
    found = compared("Plain", "without")
    lines = Path(small_ports.__file__).read_text(encoding="utf-8").splitlines()
    marked = next(number for number, line in enumerate(lines, 1) if line.endswith("# sigmoid"))
    expected = f"is left out between small_ports.py:{marked - 2} and small_ports.py:{marked + 1}"
    assert "Tensor.tanh" in found.verdict and expected in found.verdict, found.verdict


def test_a_part_that_was_built_in_training_mode_stays_in_it() -> None:
    specs = [f"{small_ports.__name__}:{name}" for name in ("in_evaluation", "in_evaluation(but='drop')")]
    found = compare_two(TwoRunsPlan(*specs, inputs=("2x8",), same_init=True)).comparison
    assert found.origin is not None and found.origin.path == "drop", found.verdict


@pytest.mark.parametrize(
    ("way", "why"),
    [
        ("sum", "+(0.0 became 0.1)"),
        ("residual", "*(0.0 became 0.1)"),
        ("dropout", "F.dropout(p=0.0 became 0.1)"),
        ("more", "+ runs in the second only"),
    ],
)
def test_what_has_no_effect_in_one_model_is_the_origin_if_it_has_one_in_the_other(way: str, why: str) -> None:
    specs = [f"{small_ports.__name__}:Between(way={way!r}, number={number})" for number in (0.0, 0.1)]
    lines = Path(small_ports.__file__).read_text(encoding="utf-8").splitlines()
    marked = next(number for number, line in enumerate(lines, 1) if line.endswith(f"# {way}"))
    for pair in (specs, specs[::-1])[: 1 if way == "more" else 2]:
        origin = compare_two(TwoRunsPlan(pair[0], pair[1], inputs=("2x8",), same_init=True)).comparison.origin
        expected = why if pair is specs else why.replace("0.0 became 0.1", "0.1 became 0.0")
        assert origin is not None and origin.why == (expected,)
        assert origin.site is not None and origin.site.line == marked
