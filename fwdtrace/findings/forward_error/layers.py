"""FT006 for the layers of images: convolution, pooling and normalisation."""

from __future__ import annotations

import re

from fwdtrace.findings.forward_error.changes import Proposal, Step
from fwdtrace.findings.forward_error.failure import Explain, Explanation, Failure, Misfit, sizes
from fwdtrace.trace import Shape, TensorMeta
from fwdtrace.trace.text import plural, shape_text

SPATIAL = {1: "length", 2: "height×width", 3: "depth×height×width"}


def channels(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """A convolution that was given another number of channels than its weight is for."""
    dimensions, expected, got = len(sizes(match[1])) - 2, int(match[3]), int(match[4])
    if dimensions < 1:
        return None
    return _channels(failure, dimensions, expected, got)


def channels_on_meta(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """The same on the meta device, where torch's message has no numbers."""
    weight = failure.tensors[1] if failure.op and len(failure.tensors) > 1 else failure.parameter("weight")
    grouped = "groups=" in (failure.call.settings or "") or failure.op
    if weight is None or grouped or "Transpose" in failure.call.class_name or not failure.tensors:
        return None
    dimensions, shape = len(weight.shape) - 2, failure.tensors[0].shape
    if not 1 <= dimensions < len(shape):
        return None
    return _channels(failure, dimensions, weight.shape[1], shape[-dimensions - 1])


def _channels(failure: Failure, dimensions: int, expected: int, got: int) -> Explanation:
    tensor = failure.tensors[0] if failure.tensors else TensorMeta("", (), "float32")
    shape, at = tensor.shape, len(tensor.shape) - dimensions - 1
    if at < 0 or shape[at] != got:  # forward made another tensor of its input first
        return Explanation(f"expects {plural(expected, 'channel')}, got {got}")
    says = f"expects {plural(expected, 'channel')}, got {failure.size(tensor, at)}"
    proposals: tuple[Proposal, ...] = ()
    if at == 0:  # no batch
        says += f" ({len(shape)} dimensions are read as channels×{SPATIAL.get(dimensions, '…')})"
        if expected == 1:
            proposals += failure.passed(Step("unsqueeze", (1,)))
    makers = failure.maker_built(tensor, at, expected)
    if shape[-1] == expected and not makers:  # a layer that chose a size for the channels knows where they are
        says += f"; the last dimension has {expected}"
        order = (*range(at), len(shape) - 1, *range(at, len(shape) - 1))
        moved = shape_text(tuple(shape[place] for place in order))
        proposals += failure.passed(Step("permute", order), why=f", which is {moved}")
        return Explanation(says, proposals)
    if not failure.op and "kernel_size=" in (failure.call.settings or ""):
        proposals += failure.built("in_channels", got)
    return Explanation(says, proposals + makers, (Misfit(tensor, at, expected),))


def dimensions_of_conv(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """A convolution whose input has too many or too few dimensions."""
    batched, spatial, got = int(match[2]), int(match[3]), sizes(match[4])
    form = f"batch×channels×{SPATIAL.get(spatial, '…')}"
    says = f"expects {batched} dimensions, {form} (or {match[1]} without the batch), got {len(got)}: {shape_text(got)}"
    if not failure.tensors or failure.tensors[0].shape != got:
        return Explanation(says)
    if len(got) > batched:
        ones = [at for at, size in enumerate(got) if size == 1]
        proposals = tuple(each for at in ones[::-1] for each in failure.passed(Step("squeeze", (at,))))
        return Explanation(says, proposals + failure.passed(Step("flatten", (0, 1))))
    steps = (Step("unsqueeze", (1,)),) * (batched - len(got))
    first = (Step("unsqueeze", (0,)),) * (batched - len(got))
    return Explanation(says, failure.passed(*steps) + failure.passed(*first))


def kernel(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """A kernel that is larger than the padded input."""
    got, window = sizes(match[1]), sizes(match[2])
    says = f"has a kernel of {shape_text(window)}, larger than its padded input of {shape_text(got)}"
    return Explanation(says, misfits=_too_small(failure, window))


def pooling(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """A pooling that would leave nothing of its input."""
    before, after = sizes(match[1])[1:], sizes(match[2])[1:]
    says = f"would give {shape_text(after)} from {shape_text(before)}: the input is smaller than its window"
    window = sizes(next(iter(re.findall(r"kernel_size=(\(.*?\)|\d+)", failure.call.settings or "")), "2"))
    return Explanation(says, misfits=_too_small(failure, window * (len(before) if len(window) == 1 else 1)))


def _too_small(failure: Failure, wanted: Shape) -> tuple[Misfit, ...]:
    tensor = failure.tensors[0] if failure.tensors else None
    if tensor is None or len(tensor.shape) <= len(wanted):
        return ()
    first = len(tensor.shape) - len(wanted)
    return tuple(Misfit(tensor, first + at, size) for at, size in enumerate(wanted) if tensor.shape[first + at] < size)


def channels_of_norm(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """A batch, instance or group norm with other channels than its parameters are for; they are dimension 1."""
    own = failure.parameter("weight") or failure.parameter("running_mean")
    own = own or (failure.tensors[1] if failure.op and len(failure.tensors) > 1 else None)
    shape = failure.tensors[0].shape if failure.tensors else ()
    if own is None or len(shape) < 2 or len(own.shape) != 1 or own.shape[0] == shape[1]:
        return None
    expected, got = own.shape[0], shape[1]
    if not {expected, got} & set(sizes(failure.error.message)):  # it was another norm that failed
        return None
    tensor = failure.tensors[0]
    says = f"expects {expected} channels in dimension 1, got {failure.size(tensor, 1)}"
    proposals: tuple[Proposal, ...] = ()
    makers = failure.maker_built(tensor, 1, expected)
    channels_last = shape[-1] == expected and not makers
    if channels_last:
        says += f"; the last dimension has {expected}"
        last = len(shape) - 1
        there = (0, last, *range(1, last))
        back = (0, *range(2, last + 1), 1)
        steps = Step("transpose", (1, 2)) if last == 2 else Step("permute", there)
        undo = Step("transpose", (1, 2)) if last == 2 else Step("permute", back)
        proposals += failure.passed(steps, back=(undo,))
    group = "num_groups" in failure.error.message or "vector of size" in failure.error.message
    if not failure.op and "eps=" in (failure.call.settings or "") and not channels_last:
        proposals += failure.built("num_channels" if group else "num_features", got)
    return Explanation(says, proposals + makers, () if channels_last else (Misfit(tensor, 1, expected),))


def groups(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """A group norm whose channels cannot be divided into its groups."""
    if (explanation := channels_of_norm(failure, match)) is not None:
        return explanation
    shape, number = sizes(match[1]), int(match[2])
    if len(shape) < 2:
        return None
    dividing = next((each for each in range(number, 0, -1) if shape[1] % each == 0), 1)
    says = f"cannot divide {shape[1]} channels into {number} groups"
    return Explanation(says, failure.built("num_groups", dividing))


def dimensions_of_norm(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """A batch or instance norm of the wrong number of spatial dimensions."""
    if "Norm" not in failure.call.class_name or not failure.tensors:
        return None
    flat = match[2] == "2" and failure.call.class_name in ("BatchNorm2d", "BatchNorm3d")
    says = f"expects a {match[1]} input, got {match[2]}D: {shape_text(failure.tensors[0].shape)}"
    return Explanation(says, note="BatchNorm1d is for flat features" if flat else "")


def one_value(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """A batch norm in training with a single value per channel."""
    got = sizes(match[1])
    says = f"needs more than one value a channel in training, in eval mode one is enough; got {shape_text(got)}"
    tensor = failure.tensors[0] if failure.tensors else None
    misfits = (Misfit(tensor, 0, 2),) if tensor is not None and tensor.shape[:1] == (1,) else ()
    return Explanation(says, misfits=misfits)


def one_position(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """An instance norm in training with a single position per channel."""
    got = sizes(match[1])
    says = f"needs more than one position a channel, got {shape_text(got)}"
    tensor = failure.tensors[0] if failure.tensors else None
    misfits = (Misfit(tensor, len(got) - 1, 2),) if tensor is not None and tensor.shape == got else ()
    return Explanation(says, misfits=misfits)


def normalized_shape(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """A layer norm whose shape is not that of the input's last dimensions."""
    expected, shape = sizes(match[1]), sizes(match[2])
    got = shape[-len(expected) :]
    if not expected or not got:
        return None
    last = "dimension" if len(expected) == 1 else f"{len(expected)} dimensions"
    says = f"expects {shape_text(expected)} in the last {last}, got {shape_text(got)}"
    if not failure.tensors or failure.tensors[0].shape != shape:
        return Explanation(says)
    if len(expected) == 1 and expected[0] in shape[1:-1]:
        at, end = shape.index(expected[0], 1), len(shape) - 1
        order = (*(place for place in range(end + 1) if place != at), at)
        back = (*range(at), end, *range(at, end))
        says += f"; dimension {at} has {expected[0]}"
        return Explanation(says, failure.passed(Step("permute", order), back=(Step("permute", back),)))
    proposals = failure.built("normalized_shape", got if len(got) > 1 else got[0])
    if len(expected) == 1:
        proposals += failure.maker_built(failure.tensors[0], len(shape) - 1, expected[0])
    first = len(shape) - len(expected)
    misfits = (Misfit(failure.tensors[0], first + at, size) for at, size in enumerate(expected) if got[at] != size)
    return Explanation(says, proposals, tuple(misfits))


def prelu(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """A PReLU whose slopes are for another number of channels."""
    says = f"expects {match[1]} channels in dimension 1, got {match[2]}"
    tensor = failure.tensors[0] if failure.tensors else None
    misfits = (Misfit(tensor, 1, int(match[1])),) if tensor is not None and len(tensor.shape) > 1 else ()
    return Explanation(says, failure.built("num_parameters", int(match[2])), misfits)


def pixel_shuffle(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """A pixel shuffle whose number of channels is no multiple of its factor squared."""
    got, factor = int(match[1]), int(match[2])
    says = f"expects channels that {factor} divides, got {got}"
    tensor = failure.tensors[0] if failure.tensors else None
    if tensor is None or len(tensor.shape) < 3 or tensor.shape[-3] != got:
        return Explanation(says)
    more = (got // factor + 1) * factor
    return Explanation(says, failure.maker_built(tensor, len(tensor.shape) - 3, more))


def halved(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """A gated linear unit, which takes one half of a dimension times the other, over an odd number."""
    at, got = int(match[1]), int(match[2])
    says = f"expects an even number to halve in dimension {at}, got {got}"
    tensor = failure.tensors[0] if failure.tensors else None
    if tensor is None or tensor.shape[at : at + 1] != (got,):
        return Explanation(says)
    return Explanation(says, failure.maker_built(tensor, at, got + 1) + failure.maker_built(tensor, at, got - 1))


_SIZES = r"\[([\d, ]*)\]"
LAYERS: tuple[tuple[str, Explain], ...] = (
    (
        rf"weight of size {_SIZES}, expected input{_SIZES} to have (\d+) channels, but got (\d+)",
        channels,
    ),
    (r"Invalid channel dimensions", channels_on_meta),
    (
        (
            r"Expected (\d)D \(unbatched\) or (\d)D \(batched\) input to conv\w*?(\d)d,"
            rf" but got input of size: {_SIZES}"
        ),
        dimensions_of_conv,
    ),
    (r"padded input size per channel: \(([\d x]+)\)\. Kernel size: \(([\d x]+)\)", kernel),
    (r"Given input size: \(([\dx]+)\)\. Calculated output size: \(([-\dx]+)\)", pooling),
    (r"should contain \d+ elements not \d+", channels_of_norm),
    (r"input's size at dim=1 to match num_features", channels_of_norm),
    (r"weight to be a vector of size equal to the number of channels", channels_of_norm),
    (
        rf"divisible by num_groups, but got input of shape {_SIZES} and num_groups=(\d+)",
        groups,
    ),
    (r"expected (\dD(?: or \dD)?) input \(got (\d)D input\)", dimensions_of_norm),
    (
        rf"Expected more than 1 value per channel when training, got input size torch\.Size\({_SIZES}\)",
        one_value,
    ),
    (rf"Expected more than 1 spatial element when training, got input size torch\.Size\({_SIZES}\)", one_position),
    (
        rf"Given normalized_shape={_SIZES}, expected input .*got input of size(?: torch\.Size\()?{_SIZES}",
        normalized_shape,
    ),
    (r"Found parameter numbers = (\d+) and channel size = (\d+)", prelu),
    (r"input\.size\(-3\)=(\d+) is not divisible by (\d+)", pixel_shuffle),
    (r"Halving dimension must be even, but dimension (\d+) is size (\d+)", halved),
)
"""Patterns of the messages of torch, each with the function that explains it."""
