"""FT006 for products: linear layers, matrix products and einsum, whose inner sizes must be equal."""

from __future__ import annotations

import re
from math import prod

from fwdtrace.findings.forward_error.changes import Built, Called, Change, Proposal, Shaped, Step
from fwdtrace.findings.forward_error.failure import (
    CALL,
    GIVE,
    SHAPE,
    Explain,
    Explanation,
    Failure,
    Misfit,
    counted,
    sizes,
)
from fwdtrace.trace import Op, TensorMeta
from fwdtrace.trace.text import shape_text
from fwdtrace.trace.values import Shape, tensors_in

MATRIX_PRODUCTS = {"@", "@=", "matmul", "mm", "spmm", "bmm", "mv", "dot", "__matmul__", "__rmatmul__"}


def linear(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """A linear layer, or `F.linear`, that was given another number of features than its weight has columns."""
    if failure.op:
        named = failure.op.name == "F.linear" and len(failure.tensors) > 1
        weight = failure.tensors[1] if named else None
    else:
        weight = failure.parameter("weight")
    if weight is None or len(weight.shape) != 2 or not failure.tensors:
        return None
    expected, tensor = weight.shape[1], failure.tensors[0]
    left, right = sizes(match["left"]), sizes(match["product"])
    if right[-2:] != weight.shape[::-1] or left[-1:] != tensor.shape[-1:]:  # it was another product that failed
        return None
    layer = not failure.op and "in_features=" in (failure.call.settings or "")
    return features(failure, expected, tensor, "in_features" if layer else "")


def features(failure: Failure, expected: int, tensor: TensorMeta, argument: str) -> Explanation:
    """A layer that needs `expected` features in the last dimension of a tensor; `argument` is what it is built with."""
    shape, last = tensor.shape, len(tensor.shape) - 1
    number = failure.tensors.index(tensor)
    misfit = Misfit(tensor, last, expected)
    says = f"expects {expected} features, got {failure.size(tensor, last)}"
    proposals: tuple[Proposal, ...] = _keeping_the_batch(failure, tensor)
    if last > 0 and prod(shape[1:]) == expected:
        says = f"expects {expected} features in the last dimension, got {shape[-1]}; {counted(shape[1:])}"
        proposals += failure.passed(Step("flatten", (1,)), tensor=number)
    elif last > 0 and prod(shape) == expected:
        says = f"expects {expected} features in the last dimension, got {shape[-1]}; {counted(shape)}"
        proposals += failure.passed(Step("flatten", (0,)), tensor=number)
    if expected in shape[1:-1]:
        at = shape.index(expected, 1)
        says += f"; dimension {at} has {expected}"
        back = () if failure.op else (Step("transpose", (at, last)),)
        proposals += failure.passed(Step("transpose", (at, last)), tensor=number, back=back)
        proposals += failure.passed(Step("transpose", (at, last)), tensor=number)
    elif argument:
        proposals += failure.built(argument, shape[-1])
    proposals += failure.maker_built(tensor, last, expected) if expected not in shape[1:-1] else ()
    return Explanation(says, proposals, () if expected in shape[1:-1] else (misfit,))


def _keeping_the_batch(failure: Failure, tensor: TensorMeta) -> tuple[Proposal, ...]:
    """The op that merged the dimensions of an operand, called so that the first one stays."""
    event = failure.trace.flow.producer(tensor)
    if not isinstance(event, Op) or event.site is None:
        return ()
    before = next(iter(tensors_in(event.inputs)), None)
    if before is None or len(before.shape) < 2 or tensor.shape[:1] == before.shape[:1]:
        return ()
    change: Change
    if event.name in ("torch.flatten", "Tensor.flatten"):
        change = Called(event.name, event.site, 1, "start_dim", 1)
    elif event.name in ("Tensor.view", "Tensor.reshape", "torch.reshape"):
        change = Called(event.name, event.site, 1, "shape", ("x.shape[0]", -1))
    else:
        return ()
    return (Proposal((change,), CALL),)


def product(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """`@`, `torch.matmul` and their kind: inner sizes, batch sizes or numbers of dimensions do not fit."""
    if not failure.op or failure.op.name.rpartition(".")[2] not in MATRIX_PRODUCTS or len(failure.tensors) < 2:
        return None
    left, right = (leaf.shape for leaf in failure.tensors[:2])
    wanted = {"mm": 2, "spmm": 2, "bmm": 3}.get(failure.op.name.rpartition(".")[2])
    if wanted and {len(left), len(right)} != {wanted}:
        return Explanation(
            f"takes tensors of {wanted} dimensions, got {shape_text(left)} and {shape_text(right)}",
            note="torch.matmul takes any number of leading dimensions",
        )
    if not left or not right:
        return None
    inner = right[-2] if len(right) > 1 else right[0]
    if left[-1] != inner:
        says = f"cannot multiply {shape_text(left)} by {shape_text(right)}: the inner sizes are {left[-1]} and {inner}"
        one = Misfit(failure.tensors[0], len(left) - 1, inner)
        other = Misfit(failure.tensors[1], max(len(right) - 2, 0), left[-1])
        makers = failure.maker_built(one.tensor, one.dimension, inner)
        makers += failure.maker_built(other.tensor, other.dimension, left[-1])
        turned = _transposed(failure, left, right)
        return Explanation(says, turned or makers, () if turned else (one, other))
    if len(left) > 2 and len(right) > 2:
        says = f"cannot multiply {shape_text(left)} by {shape_text(right)}: the leading sizes do not fit each other"
        misfits = leading(failure.tensors[0], failure.tensors[1])
        makers = tuple(each for one in misfits for each in failure.maker_built(one.tensor, one.dimension, one.wanted))
        return Explanation(says, makers, misfits)
    return None


def leading(left: TensorMeta, right: TensorMeta) -> tuple[Misfit, ...]:
    """The leading sizes of two operands that would have to be equal, as misfits of both."""
    found = []
    for at in range(3, min(len(left.shape), len(right.shape)) + 1):
        one, other = left.shape[-at], right.shape[-at]
        if one != other and 1 not in (one, other):
            found += [Misfit(left, len(left.shape) - at, other), Misfit(right, len(right.shape) - at, one)]
    return tuple(found)


def _transposed(failure: Failure, left: Shape, right: Shape) -> tuple[Proposal, ...]:
    step = Step("transpose", (-2, -1))
    if len(right) > 1 and left[-1] == right[-1]:
        why = f", which is {shape_text((*right[:-2], right[-1], right[-2]))}"
        return failure.passed(step, tensor=1, why=why)
    if len(left) > 1 and len(right) > 1 and left[-2] == right[-2]:
        return failure.passed(step, why=f", which is {shape_text((*left[:-2], left[-1], left[-2]))}")
    return ()


def own_parameter(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """A module without submodules that multiplies by a parameter of its own; the op itself was not recorded."""
    if failure.op:
        return None
    left, right = sizes(match["left"]), sizes(match["product"])
    if len(left) < 2 or len(right) < 2:
        return None
    alike = [leaf for leaf in failure.state if leaf.shape in (right, right[::-1])]
    by = f", the shape of {_called(alike[0], right)}" if len(alike) == 1 else ""
    fits = [leaf for leaf in failure.tensors if leaf.shape[-1:] == left[-1:]]
    origins = dict.fromkeys(f"{leaf.name} has {failure.size(leaf, len(leaf.shape) - 1)}" for leaf in fits)
    whose = f"; {' and '.join(origins)}" if origins else ""
    inner = f"the inner sizes are {left[-1]} and {right[-2]}"
    misfits = tuple(Misfit(leaf, len(leaf.shape) - 1, right[-2]) for leaf in fits)
    says = f"cannot multiply {shape_text(left)} by {shape_text(right)}{by}: {inner}{whose}"
    makers = tuple(each for leaf in fits[:1] for each in failure.maker_built(leaf, len(leaf.shape) - 1, right[-2]))
    if len(alike) == 1 and failure.call.path is not None:
        shape = (left[-1], right[-1]) if alike[0].shape == right else (right[-1], left[-1])
        makers += (Proposal((Shaped(f"{failure.call.path}.{alike[0].name}".lstrip("."), shape),), SHAPE),)
    return Explanation(says, (*makers, *_of_keys(failure, left[-1])), misfits)


def _of_keys(failure: Failure, size: int) -> tuple[Proposal, ...]:
    """An attention built for keys and values of another size than its queries have."""
    if failure.call.class_name != "MultiheadAttention" or failure.call.path is None or len(failure.tensors) < 3:
        return ()
    query, key, value = (leaf.shape[-1:] for leaf in failure.tensors[:3])
    path = failure.call.path
    arguments = [name for name, had in (("kdim", key), ("vdim", value)) if had == (size,) != query]
    return (Proposal(tuple(Built(path, name, size) for name in arguments), GIVE - 0.1),) if arguments else ()


def _called(parameter: TensorMeta, used: Shape) -> str:
    return parameter.name if parameter.shape == used else f"{parameter.name} transposed"


def einsum_size(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """An index of einsum that has two sizes."""
    index, got, operand, expected = match.groups()
    shapes = [shape_text(leaf.shape) for leaf in failure.tensors]
    where = f" (operand {int(operand) + 1}, {shapes[int(operand)]})" if int(operand) < len(shapes) else ""
    says = f"gives the index {index} two sizes, {expected} and {got}{where}{_equation(failure)}"
    misfits = _misfits_of_index(failure, index, {int(got), int(expected)})
    proposals: tuple[Proposal, ...] = ()
    for each in misfits:
        proposals += failure.maker_built(each.tensor, each.dimension, each.wanted)
        parameter = each.tensor.source.parameter if each.tensor.source is not None else None
        if parameter is not None:
            shape = each.tensor.shape
            new = (*shape[: each.dimension], each.wanted, *shape[each.dimension + 1 :])
            proposals += (Proposal((Shaped(parameter, new),), SHAPE),)
    return Explanation(says, proposals, misfits)


def _misfits_of_index(failure: Failure, index: str, both: set[int]) -> tuple[Misfit, ...]:
    """The dimensions of the operands that an index of the equation stands for, if it is written without an ellipsis."""
    equation = (failure.value("equation", 0) or "").strip("'\"")
    terms = equation.partition("->")[0].replace(" ", "").split(",")
    if "." in equation or len(terms) != len(failure.tensors) or len(both) != 2:
        return ()
    return tuple(
        Misfit(tensor, term.index(index), next(iter(both - {tensor.shape[term.index(index)]})))
        for term, tensor in zip(terms, failure.tensors, strict=True)
        if index in term and len(term) == len(tensor.shape) and tensor.shape[term.index(index)] in both
    )


def einsum_dimensions(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """An operand of einsum with another number of dimensions than the equation gives it."""
    expected, got, operand = match.groups()
    return Explanation(f"expects {expected} dimensions for operand {int(operand) + 1}, got {got}{_equation(failure)}")


def _equation(failure: Failure) -> str:
    equation = failure.value("equation", 0)
    return f", in {equation}" if equation else ""


_SIZE = r"\[?[\d, x]+\]?"
PRODUCTS: tuple[tuple[str, Explain], ...] = (
    *(
        (pattern, explain)
        for explain in (linear, product, own_parameter)
        for pattern in (
            r"shapes cannot be multiplied \((?P<left>\d+x\d+) and (?P<product>\d+x\d+)\)",
            rf"same reduction dim, but got (?P<left>{_SIZE}) X (?P<product>{_SIZE})",
        )
    ),
    (
        r"size mismatch|must match the size|batch2 tensor to be|must be a matrix|must be a 3D tensor",
        product,
    ),
    (
        r"subscript (\w) has size (\d+) for operand (\d+) which does not broadcast with previously seen size (\d+)",
        einsum_size,
    ),
    (
        r"subscripts in the equation \((\d+)\) does not match the number of dimensions \((\d+)\) for operand (\d+)",
        einsum_dimensions,
    ),
)
"""Patterns of the messages of torch, each with the function that explains it."""
