"""The short texts that all of fwdtrace shares, letter for letter."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fwdtrace.trace import CallError, Op, Site, Source, Value
from fwdtrace.trace.text import (
    error_text,
    file_and_line,
    first_few,
    how_often,
    listed,
    multiplied,
    name_of,
    name_with_class,
    path_text,
    plural,
    shape_text,
    shapes_text,
    site_text,
    source_text,
    with_nth,
)
from tests.helpers.traces import call, tensor


@pytest.mark.parametrize(
    ("shape", "text"), [((1, 3, 32, 32), "1×3×32×32"), ((7,), "7"), ((), "scalar"), ((2, -1), "2×?"), ((0,), "0")]
)
def test_a_shape_is_its_sizes_and_a_ragged_one_is_a_question(shape: tuple[int, ...], text: str) -> None:
    assert shape_text(shape) == text


def test_shapes_are_those_of_the_tensors_alone() -> None:
    assert shapes_text((tensor(2, 3), Value("scale", "2.0"), tensor())) == "2×3, scalar"
    assert shapes_text((Value("scale", "2.0"),)) == "none"
    assert shapes_text((), nothing="no tensor") == "no tensor"


def test_a_module_is_named_by_its_path_and_the_root_and_what_is_outside_in_words() -> None:
    assert [path_text(path) for path in ("layers.0", "", None)] == [
        "layers.0",
        "the model",
        "a module outside the tree",
    ]


def test_a_call_outside_the_tree_is_named_by_its_class_and_an_op_by_itself() -> None:
    events = (call(0, None, "", "Net"), call(1, 0, "fc", "Linear"), call(2, 0, None, "Softmax"), Op(3, 0, "torch.cat"))
    assert [name_of(event) for event in events] == ["the model", "fc", "Softmax", "torch.cat"]


def test_a_later_call_of_a_module_has_its_number() -> None:
    assert [with_nth("sig", nth) for nth in (1, 2)] == ["sig", "sig #2"]
    assert name_with_class(call(1, 0, "sig", "Sigmoid", nth=2)) == "sig #2 (Sigmoid)"
    assert name_with_class(call(0, None, "", "Net")) == "the model (Net)"


def test_an_error_without_a_message_is_its_type_alone() -> None:
    assert error_text(CallError("ValueError", "no such row")) == "ValueError: no such row"
    assert error_text(CallError("KeyboardInterrupt", "")) == "KeyboardInterrupt"


@pytest.mark.parametrize(("number", "text"), [(0, "0 calls"), (1, "1 call"), (2, "2 calls"), (12_000, "12,000 calls")])
def test_one_is_singular_and_all_other_numbers_are_plural(number: int, text: str) -> None:
    assert plural(number, "call") == text


def test_a_plural_may_take_more_than_an_s() -> None:
    assert [plural(number, "pass", "passes") for number in (1, 2)] == ["1 pass", "2 passes"]


def test_times_are_a_sign_or_words() -> None:
    assert [multiplied(number) for number in (2, 12_000)] == ["×2", "×12,000"]
    assert [how_often(number) for number in (0, 1, 2, 3)] == ["never", "once", "twice", "3 times"]


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ("", ""),
        ("a", "a"),
        ("ab", "a and b"),
        ("abc", "a, b and c"),
        ("abcd", "a, b, c and d"),
        ("abcde", "a, b, c and 2 more"),
    ],
)
def test_a_list_in_a_sentence_ends_in_and_and_a_long_one_counts_the_rest(names: str, text: str) -> None:
    assert listed(list(names)) == text


@pytest.mark.parametrize(("names", "text"), [("", ""), ("a", "a"), ("ab", "a, b"), ("abc", "a, b and 1 more")])
def test_a_list_between_commas_is_cut_where_it_is_told_to_be(names: str, text: str) -> None:
    assert first_few(list(names), 2) == text


def test_a_cut_list_may_say_more_of_what_it_leaves_out() -> None:
    assert first_few(["a", "b", "c"], 1, "more, which --json lists") == "a and 2 more, which --json lists"


def test_the_source_of_a_tensor_is_the_id_of_what_made_it_or_what_held_it() -> None:
    sources = (Source(12, 1), Source(7, 0, call=2), Source(parameter="fc.weight"), Source(hook="model.double"), None)
    texts = [source_text(replace(tensor(2), source=source)) for source in sources]
    assert texts == ["12", "7 of call 2", "parameter fc.weight", "hook model.double", ""]
    assert source_text(replace(tensor(2), source=Source(12, 0), changed_by=17)) == "12 changed by 17"


def test_a_line_of_code_is_named_without_folders_also_those_of_windows() -> None:
    assert site_text(Site("/home/me/net.py", 12, "forward", "x = x")) == "net.py:12"
    assert file_and_line("C:\\work\\net.py", 3) == "net.py:3"
    assert site_text(None) == ""
