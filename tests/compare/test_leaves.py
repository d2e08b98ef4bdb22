"""Two ops beside each other: what they are given otherwise, in words."""

from __future__ import annotations

from fwdtrace.compare.leaves import changed_arguments, with_number
from fwdtrace.trace import Op, Value
from tests.helpers.traces import tensor


def op(name: str, *inputs: Value | None) -> Op:
    leaves = tuple(tensor(2, name=str(at)) if each is None else each for at, each in enumerate(inputs))
    return Op(1, 0, name, leaves, (tensor(2),))


def test_a_number_is_said_to_have_gone_to_the_other_side_of_an_operator() -> None:
    one, other = op("-", Value("0", "1"), None), op("-", None, Value("1", "1"))
    assert changed_arguments(one, other) == (["1 on the left became 1 on the right"], [])
    assert changed_arguments(other, op("-", None, Value("1", "2"))) == (["1 became 2"], [])


def test_a_number_stands_on_its_side_of_a_division() -> None:
    assert with_number(op("/", Value("0", "8"), None)) == "8 /"
    assert with_number(op("/", None, Value("1", "8"))) == "/ 8"
