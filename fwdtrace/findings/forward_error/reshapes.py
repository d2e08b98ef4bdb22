"""FT006 for tensors that are given a shape which their elements do not fill."""

from __future__ import annotations

import re
from math import prod

from fwdtrace.findings.forward_error.changes import Called, Proposal, Step
from fwdtrace.findings.forward_error.failure import CALL, Explain, Explanation, Failure, Misfit, counted, sizes
from fwdtrace.trace import Shape, TensorMeta


def reshaped(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """A view or reshape to a shape that the elements do not fill."""
    target, count = sizes(match[1]), int(match[2])
    source = next((leaf for leaf in failure.tensors if prod(leaf.shape) == count), None)
    shown = counted(source.shape) if source else str(count)
    what = f" of {source.name}" if source and not failure.op else ""
    known = prod(size for size in target if size != -1)
    if -1 in target:
        says = f"cannot give {shown} elements{what} the shape {_target(target)}: {count} is no multiple of {known}"
    else:
        says = f"cannot give {shown} elements{what} the shape {_target(target)}: that is {counted(target)}"
    if source is None:
        return Explanation(says)
    proposals: tuple[Proposal, ...] = ()
    if failure.op is not None and failure.op.site is not None and len(target) == 2 and len(source.shape) > 1:
        keeps = Called(failure.op.name, failure.op.site, 1, "shape", ("x.shape[0]", -1))
        proposals += (Proposal((keeps,), CALL),)
    divided = _undivided(source.shape, target)
    other = _of_another(source.shape, target) if divided is None else None
    if other is not None:
        says += f"; dimension {other} has {source.shape[other]}, and the shape {target[other]} there"
        if failure.op is not None and failure.op.site is not None:
            sizes_kept: tuple[int | str, ...] = (*(f"x.shape[{at}]" for at in range(other + 1)), *target[other + 1 :])
            proposals += (Proposal((Called(failure.op.name, failure.op.site, 1, "shape", sizes_kept),), CALL),)
    if divided is not None:
        at, factors = divided
        size = source.shape[at]
        factors = _written(failure, factors) or factors
        below = size // factors[0] * factors[0]
        says += f"; {size} in dimension {at} is no multiple of {' or '.join(map(str, factors))}"
        says += f" ({size // factors[0]}·{factors[0]} = {below})"
        places = [place for place, other in enumerate(source.shape) if other == size and place >= at]
        above = sorted((size // factor + 1) * factor for factor in factors)
        misfits = [Misfit(source, place, want) for want in (*above, below) if want for place in places]
        for want in (*above, below):
            proposals += failure.maker_built(source, at, want) if want else ()
        return Explanation(says, proposals, tuple(misfits))
    return Explanation(says, proposals, _misfits_of_reshape(source, target))


def _of_another(source: Shape, target: Shape) -> int | None:
    """The last of the dimensions that are taken over, if its size alone is not that of what is reshaped."""
    for at in range(1, min(len(source), len(target))):
        rest, known = prod(source[at + 1 :]), prod(size for size in target[at + 1 :] if size != -1)
        if source[:at] == target[:at] and source[at] != target[at] > 1 and len(source) > at + 1 < len(target):
            return at if known and (rest % known == 0 if -1 in target[at + 1 :] else rest == known) else None
    return None


def _undivided(source: Shape, target: Shape) -> tuple[int, tuple[int, ...]] | None:
    """The first dimension that was to be split by a factor that does not divide it, and that factor.

    Of two factors, each may be the one that was chosen, and the other how often it fits.
    """
    at = 0
    for place, size in enumerate(source):
        if at < len(target) and target[at] == size:
            at += 1
            continue
        found = []
        for factor in target[at : at + 2]:
            heads = at == place == len(source) - 1 > 0 and sorted(target[at:]) == [-1, factor]
            if factor > 1 and size % factor and (heads or size // factor in target[at : at + 2]):
                found.append(factor)
        return (place, tuple(dict.fromkeys(found))) if found else None
    return None


def _written(failure: Failure, factors: tuple[int, ...]) -> tuple[int, ...]:
    """Those of the factors that the line has as a number."""
    site = failure.op.site if failure.op is not None else None
    numbers = re.findall(r"(?<![\w.])\d+(?![\w.])", site.code) if site is not None else []
    return tuple(factor for factor in factors if str(factor) in numbers)


def _misfits_of_reshape(source: TensorMeta, target: Shape) -> tuple[Misfit, ...]:
    """The sizes of what was reshaped that would fill the target, if one size alone or the last two do."""
    known = [size for size in target if size != -1]
    if not known or len(source.shape) < 2:
        return ()
    wanted = prod(known) if target[0] != source.shape[0] or -1 in target else prod(known[1:])
    have = prod(source.shape[1:])
    found = []
    for at in range(1, len(source.shape)):
        others = have // source.shape[at] if source.shape[at] else 0
        if others and wanted % others == 0 and wanted // others > 0:
            found.append(Misfit(source, at, wanted // others))
    if len(source.shape) == 4 and source.shape[1] and wanted % source.shape[1] == 0:
        side = round((wanted // source.shape[1]) ** 0.5)
        if side * side * source.shape[1] == wanted:
            found += [Misfit(source, 2, side), Misfit(source, 3, side)]
    return tuple(found)


def _target(shape: Shape) -> str:
    return f"({', '.join(map(str, shape))})"


def not_viewable(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """A view of a tensor whose elements are in another order in memory, as after a transpose."""
    says = "cannot view the tensor so: its elements do not lie in this order in memory"
    return Explanation(says, failure.passed(Step("contiguous")))


def unflattened(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """An unflatten to sizes that do not multiply up to the dimension."""
    wanted, at = prod(size for size in sizes(match[1]) if size > 0), int(match[2])
    says = f"cannot split dimension {match[2]} of {match[3]} into {counted(sizes(match[1]))}"
    tensor = failure.tensors[0] if failure.tensors else None
    if tensor is None or at >= len(tensor.shape) or tensor.shape[at] != int(match[3]) or -1 in sizes(match[1]):
        return Explanation(says)
    return Explanation(says, failure.maker_built(tensor, at, wanted), (Misfit(tensor, at, wanted),))


_SIZES = r"([\[(][-\d, ]*[\])])"
RESHAPES: tuple[tuple[str, Explain], ...] = (
    (rf"shape '{_SIZES}' is invalid for input of size (\d+)", reshaped),
    (r"view size is not compatible with input tensor's size and stride", not_viewable),
    (rf"Provided sizes {_SIZES} don't multiply up to the size of dim (\d+) \((\d+)\)", unflattened),
)
"""Patterns of the messages of torch, each with the function that explains it."""
