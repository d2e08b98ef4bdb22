"""Calls are paired by name, by mapped name, by order and by what they call; from traces made by hand."""

from __future__ import annotations

import pytest

from fwdtrace.compare.align import Alignment, align, align_holders, alike_at_both_ends
from fwdtrace.trace import Trace
from tests.helpers.traces import call, trace


def paths(alignment: Alignment) -> list[tuple[str | None, str | None]]:
    return [(one.path, other.path) for one, other in alignment.pairs]


def tree(*layers: tuple[str, str, int], block: str = "block") -> Trace:
    """A model that calls one block, which calls these layers: path, class and parameters."""
    calls = [call(number, 1, *layer[:2], parameters=layer[2]) for number, layer in enumerate(layers, 2)]
    return trace(call(0, None, "", "Net"), call(1, 0, block, "Block"), *calls)


def test_a_layer_left_out_of_a_list_moves_the_names_after_it() -> None:
    before = trace(
        call(0, None, "", "Net"), call(1, 0, "0", "Linear", parameters=4), call(2, 0, "1", "ReLU"),
        call(3, 0, "2", "Linear", parameters=6), call(4, 0, "3", "Linear", parameters=8),
    )  # fmt: skip
    after = trace(
        call(0, None, "", "Net"), call(1, 0, "0", "Linear", parameters=4), call(2, 0, "1", "Linear", parameters=6),
        call(3, 0, "3", "Linear", parameters=8),
    )  # fmt: skip
    found = align(before, after)
    assert paths(found) == [("", ""), ("0", "0"), ("2", "1"), ("3", "3")]
    assert [one.path for one in found.only_before] == ["1"]
    assert not found.is_port


PORT = (("block.a", "Linear", 4), ("block.b", "ReLU", 0), ("block.c", "Linear", 8))


def test_calls_of_other_names_are_paired_by_class_shape_and_order_and_their_caller_by_what_it_calls() -> None:
    after = tree(("layer.0", "Linear", 4), ("layer.1", "ReLU", 0), ("layer.2", "Linear", 8), block="layer")
    found = align(tree(*PORT), after)
    assert found.is_port and found.only_before == found.only_after == ()
    assert paths(found) == [
        *(("", ""), ("block", "layer"), ("block.a", "layer.0"), ("block.b", "layer.1"), ("block.c", "layer.2"))
    ]


def test_a_function_in_place_of_a_module_leaves_the_others_paired() -> None:
    after = tree(("layer.0", "Linear", 4), ("layer.1", "Linear", 8), block="layer")
    found = align(tree(*PORT), after)
    assert paths(found) == [("", ""), ("block", "layer"), ("block.a", "layer.0"), ("block.c", "layer.1")]
    assert [alone.path for alone in found.only_before] == ["block.b"]


def test_maps_say_which_call_is_which_of_two_that_look_alike() -> None:
    before = tree(("block.q", "Linear", 4), ("block.k", "Linear", 4))
    after = tree(("block.key", "Linear", 4), ("block.query", "Linear", 4))
    found = align(before, after, ["block.q=block.query", "block.k=block.key"])
    assert paths(found)[2:] == [("block.q", "block.query"), ("block.k", "block.key")]


def test_holders_of_as_many_parameters_in_the_same_place_may_be_of_another_class() -> None:
    before = tree(("block.a", "Linear", 4), ("block.norm", "BatchNorm2d", 6))
    after = tree(("layer.0", "Linear", 4), ("layer.norm", "NormAndActivation", 6), block="layer")
    pairs = align_holders(before, after)
    assert [(one.path, other.path) for one, other in pairs][-1] == ("block.norm", "layer.norm")
    assert all(one.path != "block.norm" for one, _ in align(before, after).pairs)


def test_too_many_calls_without_a_namesake_are_not_aligned_by_order(monkeypatch: pytest.MonkeyPatch) -> None:
    def layers(name: str, classes: str) -> list[tuple[str, str, int]]:
        return [(f"{name}.{number}", kind, 4) for number, kind in enumerate(classes)]

    one, other = tree(*layers("a", "XABCY")), tree(*layers("b", "XDBEY"))
    assert not align(one, other).given_up
    monkeypatch.setattr("fwdtrace.compare.align.MOST_BY_ORDER", 2)
    found = align(one, other)
    assert found.given_up
    assert ("a.0", "b.0") in paths(found) and ("a.4", "b.4") in paths(found)


def test_what_is_alike_at_both_ends_is_counted_once() -> None:
    assert alike_at_both_ends("abcxyz", "abxyz") == (2, 3)
    assert alike_at_both_ends("aaa", "aa") == (2, 0)
    assert alike_at_both_ends("", "a") == (0, 0)
