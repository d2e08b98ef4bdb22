"""FT006 for tensors that are given a shape which their elements do not fill: the factor that does not divide a size."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fwdtrace.findings import find
from fwdtrace.trace import CallError, Op
from tests.helpers.crashes import SITE, advised_op, explained_op, root, tensor, trace_of


def test_the_size_that_a_window_does_not_divide_is_named() -> None:
    says = explained_op(
        "Tensor.view", "shape '[1, 3, 7, 3, 7, 32]' is invalid for input of size 20000", tensor("0", 1, 25, 25, 32)
    )
    assert "; 25 in dimension 1 is no multiple of 7 (3·7 = 21)" in says


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("x.reshape(b, c, h // 4, 4, w // 4, 4)", "30 in dimension 2 is no multiple of 4 (7·4 = 28)"),
        ("x.reshape(b, c, 7, h // 7, 7, w // 7)", "30 in dimension 2 is no multiple of 7 (4·7 = 28)"),
        ("x.reshape(b, c, h // p, p, w // p, p)", "30 in dimension 2 is no multiple of 7 or 4 (4·7 = 28)"),
        ("x4.reshape(b, c, h // p, p, w // p, p)", "30 in dimension 2 is no multiple of 7 or 4 (4·7 = 28)"),
    ],
)
def test_of_two_factors_the_one_that_the_line_has_as_a_number_was_chosen(code: str, says: str) -> None:
    message = "shape '[2, 3, 7, 4, 7, 4]' is invalid for input of size 5400"
    error = CallError("RuntimeError", message)
    op = Op(10, 0, "Tensor.reshape", (tensor("0", 2, 3, 30, 30),), site=replace(SITE, code=code), error=error)
    (finding,) = find(trace_of(root("RuntimeError", message, raised_below=False), ops=(op,)))
    assert finding.message.endswith(f"; {says}")


def test_a_size_that_was_taken_from_another_tensor_is_named_with_the_own_one() -> None:
    message = "shape '[2, 10, 4, -1]' is invalid for input of size 448"
    says = explained_op("Tensor.view", message, tensor("0", 2, 7, 32))
    assert says.endswith("448 is no multiple of 80; dimension 1 has 7, and the shape 10 there")
    assert advised_op("Tensor.view", message, tensor("0", 2, 7, 32)) == [
        "call Tensor.view in line 31 with (x.shape[0], x.shape[1], 4, -1)"
    ]
