"""FT006 for sizes that must be equal or add up: joining, reshaping and broadcasting."""

from __future__ import annotations

import re
from collections.abc import Iterator

from fwdtrace.findings.forward_error.changes import Built, Called, Operand, Proposal, Shaped, Step, WithoutGrad
from fwdtrace.findings.forward_error.failure import (
    BUILD,
    CALL,
    SHAPE,
    Explain,
    Explanation,
    Failure,
    Misfit,
    sizes,
)
from fwdtrace.findings.forward_error.feature_maps import padded, strided
from fwdtrace.findings.forward_error.origins import held_behind, held_text, origin_of_size
from fwdtrace.trace import Call, Op, TensorMeta
from fwdtrace.trace.text import listed, shape_text
from fwdtrace.trace.values import Shape, tensors_in


def joined(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """`torch.cat` of tensors that differ elsewhere than in the dimension they are joined along."""
    along = int(match[1])
    parts = [leaf for leaf in failure.tensors if leaf.shape != (0,)]
    first = parts[0] if parts else None
    for other in parts[1:]:
        assert first is not None
        if len(other.shape) != len(first.shape):
            continue
        pairs = enumerate(zip(first.shape, other.shape, strict=True))
        differing = [(at, one, two) for at, (one, two) in pairs if at != along and one != two]
        if not differing:
            continue
        clashes = listed([f"{one} and {two} in dimension {at}" for at, one, two in differing])
        says = f"joins along dimension {along} and needs the others equal, got {clashes}"
        misfits = [Misfit(first, at, two) for at, _, two in differing]
        misfits += [Misfit(other, at, one) for at, one, _ in differing]
        proposals = _along(failure, parts) + _resized(failure, first, other, differing)
        if len(differing) == 1:
            proposals += tuple(each for misfit in misfits for each in _made_otherwise(failure, misfit))
        from_end = [at - len(first.shape) for at, _, _ in differing]
        proposals += padded(failure, first, other, from_end) + padded(failure, other, first, from_end)
        return Explanation(says, proposals, tuple(misfits))
    return None


def _made_otherwise(failure: Failure, misfit: Misfit) -> tuple[Proposal, ...]:
    """What gave a part its size, a layer or a parameter, made to give the other one."""
    tensor, at, wanted = misfit.tensor, misfit.dimension, misfit.wanted
    origin = origin_of_size(failure.trace, tensor, at)
    name = origin.held.parameter if origin.held is not None and not origin.sum else None
    if name is None:
        return failure.maker_built(tensor, at, wanted)
    shape = (*origin.shape[: origin.dimension], wanted, *origin.shape[origin.dimension + 1 :])
    return (Proposal((Shaped(name, shape),), BUILD + 0.2),)


def _along(failure: Failure, parts: list[TensorMeta]) -> tuple[Proposal, ...]:
    """The one dimension along which these tensors could be joined."""
    if len({len(part.shape) for part in parts}) != 1 or failure.op is None or failure.op.site is None:
        return ()
    pairs = enumerate(zip(*(part.shape for part in parts), strict=True))
    differing = [at for at, sizes in pairs if len(set(sizes)) > 1]
    if len(differing) != 1:
        return ()
    return (Proposal((Called(failure.op.name, failure.op.site, 1, "dim", differing[0]),), CALL),)


def _resized(
    failure: Failure, first: TensorMeta, other: TensorMeta, differing: list[tuple[int, int, int]]
) -> tuple[Proposal, ...]:
    """One of two feature maps that differ by rounding, made as large as the other where it was doubled."""
    spatial = all(at > 1 for at, _, _ in differing) and len(first.shape) == 4
    if not spatial:
        return ()
    found: tuple[Proposal, ...] = ()
    for one, two in ((first, other), (other, first)):
        maker = origin_of_size(failure.trace, one, differing[-1][0]).event
        if isinstance(maker, Call) and maker.class_name.startswith("ConvTranspose") and maker.path:
            missing = tuple(two.shape[at] - one.shape[at] for at in (2, 3))
            if min(missing) >= 0:
                found += (Proposal((Built(maker.path, "output_padding", missing),), BUILD),)
        enlarged = (isinstance(maker, Call) and maker.class_name.startswith("Upsample")) or (
            isinstance(maker, Op) and maker.name == "F.interpolate"
        )
        if enlarged:
            step = Step("interpolate", two.shape[2:])
            found += failure.passed(step, tensor=failure.tensors.index(one))
    return found


def joined_dimensions(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """`torch.cat` of tensors with different numbers of dimensions."""
    ranks = " and ".join(dict.fromkeys(str(len(leaf.shape)) for leaf in failure.tensors))
    most = max((len(leaf.shape) for leaf in failure.tensors), default=0)
    proposals: tuple[Proposal, ...] = ()
    short = [leaf for leaf in failure.tensors if len(leaf.shape) == most - 1]
    if len(short) == 1:
        number = failure.tensors.index(short[0])
        for at in (1, *range(2, most), 0):
            proposals += failure.passed(Step("unsqueeze", (at,)), tensor=number)
    return Explanation(f"needs tensors with the same number of dimensions, got {ranks}", proposals)


def stacked(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """`torch.stack` of tensors whose shapes differ."""
    one, two = sizes(match[1]), sizes(match[2])
    says = f"needs tensors of one shape, got {shape_text(one)} and {shape_text(two)}"
    left = next((leaf for leaf in failure.tensors if leaf.shape == one), None)
    right = next((leaf for leaf in failure.tensors if leaf.shape == two), None)
    if left is None or right is None or len(one) != len(two):
        return Explanation(says)
    places = [at for at in range(len(one)) if one[at] != two[at]]
    misfits = [Misfit(leaf, at, want[at]) for leaf, want in ((left, two), (right, one)) for at in places]
    makers = (
        [] if len(places) != 1 else [failure.maker_built(each.tensor, each.dimension, each.wanted) for each in misfits]
    )
    from_end = [at - len(one) for at in places]
    of_borders = padded(failure, left, right, from_end) + padded(failure, right, left, from_end) if places else ()
    return Explanation(says, (*(each for found in makers for each in found), *of_borders), tuple(misfits))


def broadcast(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """Two operands with sizes in one dimension that differ and are not 1.

    The arguments of a call may differ and yet be right, so the sizes must be those in torch's message.
    """
    return _clashing(failure, set(sizes(match[0])))


def broadcast_on_meta(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """The same, as torch says it on meta."""
    at, shape = int(match[2]), sizes(match[3])
    return _clashing(failure, {int(match[1]), shape[at]}) if -at <= len(shape) else None


def _clashing(failure: Failure, said: set[int]) -> Explanation | None:
    tensors = (*failure.tensors, *failure.state)
    for number, left in enumerate(tensors):
        for right in tensors[number + 1 :]:
            places = _clashes(left.shape, right.shape)
            if places and {left.shape[places[-1]], right.shape[places[-1]]} == said:
                return _broadcast(failure, left, right, places)
    return None


def _broadcast(failure: Failure, left: TensorMeta, right: TensorMeta, places: list[int]) -> Explanation:
    says = f"cannot broadcast {_named(left)} with {_named(right)}"
    clash = listed([f"{left.shape[at]} and {right.shape[at]} in {_place(at)}" for at in places])
    long, short = (left, right) if len(left.shape) >= len(right.shape) else (right, left)
    proposals: tuple[Proposal, ...] = ()
    missing = len(long.shape) - len(short.shape)
    ones = _unsqueezed(long.shape, short.shape, failure.name) if missing and short in failure.tensors else ()
    for at, times in ones:
        steps = (Step("unsqueeze", (at,)),) * times
        proposals += failure.passed(*steps, tensor=failure.tensors.index(short))
    if len(left.shape) == len(right.shape) >= 2 and left.shape == (*right.shape[:-2], *right.shape[-2:][::-1]):
        for number in (1, 0):
            proposals += failure.passed(Step("transpose", (-2, -1)), tensor=number)
    misfits = []
    for leaf, other in ((left, right), (right, left)):
        wanted = list(leaf.shape)
        for at in places:
            misfits.append(Misfit(leaf, len(leaf.shape) + at, other.shape[at]))
            wanted[at] = other.shape[at]
            proposals += failure.maker_built(leaf, len(leaf.shape) + at, other.shape[at]) if len(places) == 1 else ()
        parameter = leaf.source.parameter if leaf.source is not None else None
        if leaf in failure.state and failure.call.path is not None:
            parameter = f"{failure.call.path}.{leaf.name}".lstrip(".")
        if parameter is not None:
            proposals += (Proposal((Shaped(parameter, tuple(wanted)),), SHAPE),)
    if any(isinstance(change, Operand) for proposal in proposals for change in proposal.changes):
        misfits = []
    for leaf, other in ((left, right), (right, left)):
        proposals += padded(failure, leaf, other, places) + strided(failure, leaf, other, places)
    stories = [failure.size(leaf, at) for at in places for leaf in (left, right)]
    told = [text for text in dict.fromkeys(stories) if " = " in text]
    return Explanation(f"{says}: {clash}" + "".join(f"; {text}" for text in told), proposals, tuple(misfits))


def _unsqueezed(long: Shape, short: Shape, op: str) -> Iterator[tuple[int, int]]:
    """Where a tensor of fewer dimensions may get ones, and how many, so that it fits.

    They may stand behind its own dimensions, as behind channels, or behind that of the examples. A mask of examples
    and keys hides keys, which are last.
    """
    last, missing = len(short) - 1, len(long) - len(short)
    behind_examples = last > 0 and short == (long[0], *long[len(long) - last :])
    if short == long[: len(short)] and not (behind_examples and "masked_fill" in op):
        yield -1, missing
    if missing > 1 and short == long[1 : len(short) + 1]:
        yield -1, missing - 1
    if behind_examples:
        yield 1, missing


def _named(leaf: TensorMeta) -> str:
    held = leaf.source
    name = (
        next((name for name in (held.parameter, held.buffer, held.attribute, held.argument) if name), "")
        if held
        else ""
    )
    return f"{name} {shape_text(leaf.shape)}" if name else shape_text(leaf.shape)


def _clashes(left: Shape, right: Shape) -> list[int]:
    """The dimensions, counted from the end, in which two shapes do not broadcast; the last one comes last."""
    pairs = [(at, left[at], right[at]) for at in range(-min(len(left), len(right)), 0)]
    return [at for at, one, two in pairs if one != two and 1 not in (one, two)]


def _place(dimension: int) -> str:
    return {-1: "the last dimension", -2: "the last but one"}.get(dimension, f"dimension {dimension}")


def in_place(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """An in-place operation whose result is larger than the tensor that has to hold it."""
    held, result = shape_text(sizes(match[1])), shape_text(sizes(match[2]))
    says = f"writes a result of {result} into a tensor of {held}"
    return Explanation(says, note="use the form that is not in place")


def affine(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """`F.affine_grid` of something else than a matrix for each example."""
    rows, columns = int(match[1]), int(match[2])
    size, got = sizes(match[3]), sizes(match[4])
    says = f"expects a matrix of {rows}×{columns} for each of {size[0]} examples, got {shape_text(got)}"
    if got[1:] == (rows * columns,) and failure.tensors and failure.tensors[0].shape == got:
        return Explanation(says, failure.passed(Step("view", (-1, rows, columns))))
    return Explanation(says)


def leaf_in_place(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """An in-place operation on a tensor whose gradient is asked for, such as a parameter."""
    written = failure.tensors[0] if failure.op is not None and failure.tensors else None
    what = (held_behind(failure.trace, written) or held_text(written.source)) if written is not None else ""
    part = "a part of " if match[1] else ""
    says = f"writes in place into {part}{what or 'a tensor'}, which requires grad: autograd does not allow that"
    note = "write under torch.no_grad(), or use the form that is not in place"
    return Explanation(says, _not_in_place(failure), note=note)


def _not_in_place(failure: Failure) -> tuple[Proposal, ...]:
    """What computes the same without a write, or writes what may be written again at each call.

    A copy is written into only where the line goes on with the result, or the write would be lost.
    """
    op, site = failure.op, failure.op.site if failure.op is not None else None
    if op is None:
        return failure.built("inplace", False) if "inplace=True" in (failure.call.settings or "") else ()
    if site is None:
        return ()
    if re.match(r"(return\b|\w+ *([-+*/@&|^%]|//|\*\*)?= )", site.code):
        return failure.passed(Step("clone"))
    others = any(leaf.requires_grad for leaf in failure.tensors[1:])
    again = re.fullmatch(r"Tensor\.(clamp\w*|clip|fill|zero|copy|renorm|masked_fill|\w*normal|uniform)_|\[\]=", op.name)
    return (Proposal((WithoutGrad(op.name, site),), CALL),) if again and not others else ()


def expanded(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """An expand, or a mask, in a dimension that is not 1."""
    target, source = sizes(match[4]), sizes(match[5])
    tensor = next((leaf for leaf in failure.tensors if leaf.shape == source), None)
    named = shape_text(source) if tensor is None else _named(tensor)
    says = f"cannot expand {named} to {shape_text(target)}: dimension {match[3]} has {match[2]}, not 1 or {match[1]}"
    if tensor is None or not failure.op:
        return Explanation(says)
    at = int(match[3]) - (len(target) - len(source))
    origin = failure.trace.flow.producer(tensor)
    behind = next(iter(tensors_in(origin.inputs)), None) if isinstance(origin, Op) else None
    if behind is not None and behind.source is not None and (behind.source.buffer or behind.source.parameter):
        says += f"; it is of {_named(behind)}"
    return Explanation(says, misfits=(Misfit(tensor, at, int(match[1]), either=True),))


_SIZES = r"([\[(][-\d, ]*[\])])"
SIZES: tuple[tuple[str, Explain], ...] = (
    (
        (
            r"Expected a batch of \dD affine matrices of shape Nx(\d)x(\d) for size torch\.Size\("
            rf"{_SIZES}\)\. Got torch\.Size\({_SIZES}\)"
        ),
        affine,
    ),
    (r"a (view of a )?leaf Variable that requires grad is being used in an in-place operation", leaf_in_place),
    (r"Sizes of tensors must match except in dimension (\d+)", joined),
    (r"Tensors must have same number of dimensions|Number of dimensions of tensors must match", joined_dimensions),
    (rf"stack expects each tensor to be equal size, but got {_SIZES} at entry \d+ and {_SIZES}", stacked),
    (rf"output with shape (?:torch\.Size\()?{_SIZES}\)? doesn't match the broadcast shape {_SIZES}", in_place),
    (
        (
            r"expanded size of the tensor \((\d+)\) must match the existing size \((\d+)\) at non-singleton"
            rf" dimension (\d+)\. +Target sizes: {_SIZES}\. +Tensor sizes: {_SIZES}"
        ),
        expanded,
    ),
    (r"tensor a \(\d+\) must match the size of tensor b \(\d+\)", broadcast),
    (r"broadcast a dimension of length (\d+) at (-\d+)!.* broadcastable to (\[[\d, ]*\])", broadcast_on_meta),
)
"""Patterns of the messages of torch, each with the function that explains it."""
