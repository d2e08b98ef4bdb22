"""FT006 for ops whose sizes do not fit, on traces written by hand, letter for letter."""

from __future__ import annotations

import pytest

from fwdtrace.findings import find
from fwdtrace.trace import CallError, Op, Source
from tests.helpers.crashes import (
    PRODUCT,
    SITE,
    advised_op,
    explained,
    explained_op,
    layer,
    ran,
    root,
    tensor,
    texts_of,
    trace_of,
)


@pytest.mark.parametrize(
    ("name", "message", "inputs", "says"),
    [
        (
            "@", PRODUCT.format("2x4", "2x4"), ((2, 4), (2, 4)),
            "@ in the model (Net) cannot multiply 2×4 by 2×4: the inner sizes are 4 and 2",
        ),
        (
            "torch.bmm", "Expected size for first two dimensions of batch2 tensor to be: [2, 4] but got: [3, 4].",
            ((2, 3, 4), (3, 4, 5)),
            "torch.bmm in the model (Net) cannot multiply 2×3×4 by 3×4×5: the leading sizes do not fit each other",
        ),
        (
            "torch.mm", "self must be a matrix", ((2, 3, 4), (4, 5)),
            "torch.mm in the model (Net) takes tensors of 2 dimensions, got 2×3×4 and 4×5; torch.matmul takes any "
            "number of leading dimensions (not tried)",
        ),
        (
            "F.linear", PRODUCT.format("1x400", "256x120"), ((1, 400), (120, 256)),
            "F.linear in the model (Net) expects 256 features, got 400; given 1×400, 120×256",
        ),
        (
            "torch.cat", "Sizes of tensors must match except in dimension 1. Expected size 28 but got size 27 for"
            " tensor"
            " number 1 in the list.", ((1, 64, 28, 28), (1, 32, 27, 28)),
            "torch.cat in the model (Net) joins along dimension 1 and needs the others equal, got 28 and 27 in "
            "dimension 2; given 1×64×28×28, 1×32×27×28",
        ),
        (
            "torch.cat", "Sizes of tensors must match except in dimension 1. Expected size 2 but got size 3 for"
            " tensor number"
            " 1 in the list.", ((2, 4), (3, 4)),
            "torch.cat in the model (Net) joins along dimension 1 and needs the others equal, got 2 and 3 in "
            "dimension 0; given 2×4, 3×4",
        ),
        (
            "torch.stack", "stack expects each tensor to be equal size, but got [2, 4] at entry 0 and [2, 5] at entry"
            " 1",
            ((2, 4), (2, 5)),
            "torch.stack in the model (Net) needs tensors of one shape, got 2×4 and 2×5",
        ),
        (
            "Tensor.view", "shape '[-1, 256]' is invalid for input of size 400", ((1, 16, 5, 5),),
            "Tensor.view in the model (Net) cannot give 400 = 1×16×5×5 elements the shape (-1, 256): 400 is no "
            "multiple of 256",
        ),
        (
            "torch.reshape", "shape '[3, 3]' is invalid for input of size 8", ((2, 4),),
            "torch.reshape in the model (Net) cannot give 8 = 2×4 elements the shape (3, 3): that is 9 = 3×3",
        ),
        (
            "Tensor.view", "view size is not compatible with input tensor's size and stride (at least one dimension"
            " spans"
            " across two contiguous subspaces). Use .reshape(...) instead.", ((2, 4, 3),),
            "Tensor.view in the model (Net) cannot view the tensor so: its elements do not lie in this order in "
            "memory; given 2×4×3",
        ),
        (
            "*", "The size of tensor a (8) must match the size of tensor b (3) at non-singleton dimension 3",
            ((2, 3, 8, 8), (2, 3)),
            "* in the model (Net) cannot broadcast 2×3×8×8 with 2×3: 8 and 2 in the last but one and 8 and 3 in the "
            "last dimension",
        ),
        (
            "*", "Attempting to broadcast a dimension of length 3 at -1! Mismatching argument at index 1 had"
            " torch.Size([2, 3]); but expected shape should be broadcastable to [2, 3, 8, 8]",
            ((2, 3, 8, 8), (2, 3)),
            "* in the model (Net) cannot broadcast 2×3×8×8 with 2×3: 8 and 2 in the last but one and 8 and 3 in the "
            "last dimension",
        ),
        (
            "torch.cat", "Number of dimensions of tensors must match.  Expected 2-D tensors, but got 3-D for tensor"
            " number 1 in the list",
            ((2, 3), (3, 4, 3)),
            "torch.cat in the model (Net) needs tensors with the same number of dimensions, got 2 and 3;"
            " given 2×3, 3×4×3",
        ),
        (
            "+=", "output with shape torch.Size([1, 84]) doesn't match the broadcast shape (2, 84)",
            ((1, 84), (2, 84)),
            "+= in the model (Net) writes a result of 2×84 into a tensor of 1×84; use the form that is not in place "
            "(not tried)",
        ),
        (
            "+=", "output with shape [1, 84] doesn't match the broadcast shape [2, 84]", ((1, 84), (2, 84)),
            "+= in the model (Net) writes a result of 2×84 into a tensor of 1×84; use the form that is not in place "
            "(not tried)",
        ),
        (
            "Tensor.expand", "The expanded size of the tensor (3) must match the existing size (2) at non-singleton"
            " dimension"
            " 0.  Target sizes: [3, 4].  Tensor sizes: [2, 4]", ((2, 4),),
            "Tensor.expand in the model (Net) cannot expand 2×4 to 3×4: dimension 0 has 2, not 1 or 3",
        ),
        (
            "F.scaled_dot_product_attention", "The size of tensor a (4) must match the size of tensor b (3) at"
            " non-singleton"
            " dimension 3", ((1, 2, 4, 8), (1, 2, 4, 8), (1, 2, 4, 8), (3, 3)),
            "F.scaled_dot_product_attention in the model (Net) expects attn_mask to fit 1×2×4×4 (…×queries×keys), got"
            " 3×3;"
            " given 1×2×4×8, 1×2×4×8, 1×2×4×8, 3×3",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 40 else "",
)  # fmt: skip
def test_the_message_about_an_op_has_its_operands(
    name: str, message: str, inputs: tuple[tuple[int, ...], ...], says: str
) -> None:
    assert explained_op(name, message, *(tensor(str(at), *shape) for at, shape in enumerate(inputs))) == says


def test_operands_that_do_not_broadcast_are_named_with_what_gave_them() -> None:
    before = ran(1, "f5", "Linear", (1, 3), (1, 84)), ran(2, "f6", "Linear", (1, 84), (1, 85), source=1)
    message = "The size of tensor a (84) must match the size of tensor b (85) at non-singleton dimension 1"
    operands = tensor("0", 1, 84, source=1), tensor("1", 1, 85, source=2)
    assert explained_op("+", message, *operands, before=before) == (
        "+ in the model (Net) cannot broadcast 1×84 with 1×85: 84 and 85 in the last dimension; given 1×84 from f5,"
        " 1×85 from f6"
    )
    assert advised_op("+", message, *operands, before=before) == [
        "set out_features=85 in f5",
        "set out_features=84 in f6",
    ]


def test_a_parameter_that_does_not_broadcast_is_named_and_the_number_of_patches_is_taken_apart() -> None:
    patches = ran(1, "patch", "Conv2d", (1, 3, 384, 384), (1, 8, 24, 24))
    flat = Op(2, 0, "Tensor.flatten", (tensor("0", 1, 8, 24, 24, source=1),), (tensor("", 1, 8, 576, source=2),), SITE)
    turned = Op(3, 0, "Tensor.mT", (tensor("0", 1, 8, 576, source=2),), (tensor("", 1, 576, 8, source=3),), SITE)
    cls = tensor("0[0]", 1, 1, 8, source=Source(parameter="cls"))
    parts = cls, tensor("0[1]", 1, 576, 8, source=3)
    joined = Op(4, 0, "torch.cat", parts, (tensor("", 1, 577, 8, source=4),), SITE)
    message = "The size of tensor a (577) must match the size of tensor b (197) at non-singleton dimension 1"
    operands = tensor("0", 1, 577, 8, source=4), tensor("1", 1, 197, 8, source=Source(parameter="pos"))
    failed = Op(10, 0, "+", operands, site=SITE, error=CallError("RuntimeError", message))
    trace = trace_of(root("RuntimeError", message, raised_below=False), patches, ops=(flat, turned, joined, failed))
    (finding,) = find(trace)
    assert finding.message == (
        "+ in the model (Net) cannot broadcast 1×577×8 with pos 1×197×8: 577 and 197 in the last but one;"
        " 577 = 1 + 576, 576 = 24×24 of patch; given 1×577×8 from torch.cat of the parameter cls,"
        " 1×197×8 (the parameter pos)"
    )
    assert texts_of(trace) == ["make the parameter pos 1×577×8"]


def test_all_dimensions_in_which_joined_tensors_differ_are_named() -> None:
    message = "Sizes of tensors must match except in dimension 1. Expected size 14 but got size 13 for tensor number 1"
    parts = tensor("0[0]", 1, 8, 14, 14, source=1), tensor("0[1]", 1, 8, 13, 13)
    up = ran(1, "up", "Upsample", (1, 8, 7, 7), (1, 8, 14, 14))
    says = explained_op("torch.cat", message, *parts, before=(up,))
    assert "got 14 and 13 in dimension 2 and 14 and 13 in dimension 3; given 1×8×14×14 from up" in says
    assert advised_op("torch.cat", message, *parts, before=(up,)) == [
        "resize the first operand of torch.cat in line 31, F.interpolate(x, size=(13, 13))"
    ]


def test_inputs_that_differ_in_other_sizes_than_those_in_the_message_are_not_named() -> None:
    message = "The size of tensor a (7) must match the size of tensor b (9) at non-singleton dimension 1"
    assert explained(layer("m", "Mixes", tensor("x", 2, 3), tensor("y", 2, 4)), message) == (
        f"m (Mixes) raised RuntimeError: {message}; given x 2×3, y 2×4"
    )


def test_a_write_into_what_requires_grad_is_named_by_what_it_writes_into() -> None:
    message = "a leaf Variable that requires grad is being used in an in-place operation."
    whole, part = (
        explained_op("*=", text, tensor("0", 8, source=Source(parameter="w")))
        for text in (message, message.replace("a leaf", "a view of a leaf"))
    )
    assert "writes in place into the parameter w, which requires grad: autograd does not allow that" in whole
    assert whole.endswith("; write under torch.no_grad(), or use the form that is not in place (not tried)")
    assert "writes in place into a part of the parameter w, which requires grad" in part


def test_a_grid_is_made_of_a_matrix_for_each_example() -> None:
    message = (
        "Expected a batch of 2D affine matrices of shape Nx2x3 for size torch.Size([4, 3, 16, 16]). Got torch.Size({})."
    )
    flat = "F.affine_grid", message.format("[4, 6]"), tensor("theta", 4, 6, source=1)
    assert "expects a matrix of 2×3 for each of 4 examples, got 4×6" in explained_op(*flat)
    assert advised_op(*flat) == ["apply .view(-1, 2, 3) to the operand of F.affine_grid in line 31"]
    assert advised_op("F.affine_grid", message.format("[4, 5]"), tensor("theta", 4, 5)) == []


def test_numbers_of_each_channel_get_ones_behind_them() -> None:
    message = "The size of tensor a (8) must match the size of tensor b (3) at non-singleton dimension 3"
    assert advised_op("-", message, tensor("0", 2, 3, 8, 8), tensor("1", 3)) == [
        "apply .unsqueeze(-1).unsqueeze(-1) to the second operand of - in line 31"
    ]
