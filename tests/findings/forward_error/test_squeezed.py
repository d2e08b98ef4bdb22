"""FT006 on traces written by hand: an operand with more or fewer dimensions than the op names."""

from __future__ import annotations

from fwdtrace.findings import find
from fwdtrace.findings.forward_error.changes import proposal_text
from fwdtrace.findings.forward_error.rule import proposals_for
from fwdtrace.trace import Call, CallError, Op, Site, Source, Value
from tests.helpers.crashes import SITE, advised_op, explained_op, root, tensor, trace_of

MESSAGE = (
    "permute(sparse_coo): number of dimensions in the tensor input does not match the length of the desired ordering"
    " of dimensions i.e. input.dim() = {} is not equal to len(dims) = {}"
)


def test_an_example_without_its_batch_is_given_one_where_all_dimensions_are_permuted() -> None:
    given = tensor("0", 16, 16, 3)
    assert explained_op("Tensor.permute", MESSAGE.format(3, 4), given) == (
        "Tensor.permute in the model (Net) names 4 dimensions, got 16×16×3, which has 3"
    )
    assert advised_op("Tensor.permute", MESSAGE.format(3, 4), given) == [
        "apply .unsqueeze(0) to the operand of Tensor.permute in line 31"
    ]


def test_a_squeeze_that_took_nothing_away_is_named_with_the_size_that_should_be_1() -> None:
    message = MESSAGE.format(4, 3)
    left = tensor("", 2, 64, 2, 12, source=5)
    squeeze = Op(5, 0, "Tensor.squeeze", (tensor("0", 2, 64, 2, 12), Value("1", "2")), (left,), site=SITE)
    error = CallError("RuntimeError", message)
    permute = Op(10, 0, "Tensor.permute", (tensor("0", 2, 64, 2, 12, source=5),), site=SITE, error=error)
    found = proposals_for(trace_of(root("RuntimeError", message, raised_below=False), ops=(squeeze, permute)))
    assert found is not None
    assert found[0].message == (
        "Tensor.permute in the model (Net) names 3 dimensions, got 2×64×2×12, which has 4; Tensor.squeeze in line 31"
        " took nothing away, as dimension 2 is 2 and not 1; given 2×64×2×12 from Tensor.squeeze"
    )


def test_a_shape_that_is_taken_apart_into_too_many_sizes_is_given_a_batch() -> None:
    def call(code: str) -> Call:
        site = Site("net.py", 8, "Net.forward", code)
        given = tensor("x", 3, 32, 32, source=Source(argument="x"))
        error = CallError("ValueError", "not enough values to unpack (expected 4, got 3)", site=site)
        return Call(0, None, 0, "", "Net", 1, "__call__", inputs=(given,), error=error)

    found = proposals_for(trace_of(call("b, c, h, w = x.shape")))
    assert found is not None
    assert found[0].message == (
        "the model (Net) takes 4 sizes from the shape of x, got 3×32×32, which has 3; given x 3×32×32"
    )
    assert proposal_text(found[1][0]) == "give the model x.unsqueeze(0)"
    (finding,) = find(trace_of(call("a, b, c, d = self.pair")))
    assert "raised ValueError: not enough values" in finding.message


def test_a_softmax_along_a_dimension_that_is_not_there_is_tried_along_the_last_one_and_other_ops_are_not() -> None:
    message = "Dimension out of range (expected to be in range of [-2, 1], but got 2)"
    given = tensor("0", 4, 10), Value("dim", "2")
    assert explained_op("F.softmax", message, *given, type="IndexError") == (
        "F.softmax in the model (Net) works along dimension 2, got 4×10, whose dimensions are 0 to 1"
    )
    assert advised_op("F.softmax", message, *given) == ["call F.softmax in line 31 with dim=1"]
    assert advised_op("Tensor.mean", message, *given) == []
