"""FT006 for the layers of images: convolution, pooling and normalisation."""

from __future__ import annotations

import re

from fwdtrace.findings.forward_error.failure import (
    OUTPUT_SIZES,
    Explain,
    Explanation,
    Failure,
    set_argument,
    sizes,
)
from fwdtrace.trace.text import name_of, plural, shape_text
from fwdtrace.trace.values import Shape

SPATIAL = {1: "length", 2: "height×width", 3: "depth×height×width"}


def channels(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """A convolution that was given another number of channels than its weight is for."""
    dimensions, expected, got = len(sizes(match[1])) - 2, int(match[3]), int(match[4])
    shape = failure.tensors[0].shape if failure.tensors else ()
    if dimensions < 1:
        return None
    if len(shape) <= dimensions or shape[-dimensions - 1] != got:  # forward made another tensor of its input first
        shape = sizes(match[2])
    return _channels(failure, shape, dimensions, expected, got)


def channels_on_meta(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """The same on the meta device, where torch's message has no numbers."""
    weight = failure.tensors[1] if failure.op and len(failure.tensors) > 1 else failure.parameter("weight")
    grouped = "groups=" in (failure.call.settings or "") or failure.op
    if weight is None or grouped or "Transpose" in failure.call.class_name or not failure.tensors:
        return None
    dimensions, shape = len(weight.shape) - 2, failure.tensors[0].shape
    if not 1 <= dimensions < len(shape):
        return None
    return _channels(failure, shape, dimensions, weight.shape[1], shape[-dimensions - 1])


def _channels(failure: Failure, shape: Shape, dimensions: int, expected: int, got: int) -> Explanation:
    says = f"expects {plural(expected, 'channel')}, got {got}"
    if len(shape) == dimensions + 1:  # no batch
        says += f" ({len(shape)} dimensions are read as channels×{SPATIAL.get(dimensions, '…')})"
        if expected == 1:
            return Explanation(says, "if the first dimension is the batch, x.unsqueeze(1) adds the channel")
    if shape and shape[-1] == expected and got != expected:
        order = (
            *range(len(shape) - dimensions - 1),
            len(shape) - 1,
            *range(len(shape) - dimensions - 1, len(shape) - 1),
        )
        moved = shape_text(tuple(shape[at] for at in order))
        return Explanation(says, f"if the channels are last, x.permute{order} makes it {moved}")
    settings = "" if failure.op else failure.call.settings or ""
    layer = "kernel_size=" in settings and "groups=" not in settings
    fixes = [] if not layer else [set_argument(failure, "in_channels", got)]
    maker = failure.maker(shape, -dimensions - 1) if len(shape) == dimensions + 2 else None
    if maker is not None:
        fixes.append(f"{OUTPUT_SIZES[maker.class_name]}={expected} in {name_of(maker)}")
    return Explanation(says, ", or ".join(fixes))


def dimensions_of_conv(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """A convolution whose input has too many or too few dimensions."""
    batched, spatial, got = int(match[2]), int(match[3]), sizes(match[4])
    form = f"batch×channels×{SPATIAL.get(spatial, '…')}"
    says = f"expects {batched} dimensions, {form} (or {match[1]} without the batch), got {len(got)}: {shape_text(got)}"
    if len(got) > batched:
        fix = "x.squeeze(0) drops the first" if got[0] == 1 else "x.flatten(0, 1) makes one of the first two"
    else:
        fix = "x[None, None] adds batch and channel" if len(got) == batched - 2 else "x[None] adds one"
    return Explanation(says, fix)


def kernel(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """A kernel that is larger than the padded input."""
    return Explanation(
        f"has a kernel of {shape_text(sizes(match[2]))}, larger than its padded input of {shape_text(sizes(match[1]))}",
        "use a larger input, a smaller kernel_size or more padding, or shrink less before it",
    )


def pooling(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """A pooling that would leave nothing of its input."""
    before, after = shape_text(sizes(match[1])[1:]), shape_text(sizes(match[2])[1:])
    return Explanation(
        f"would give {after} from {before}: the input is smaller than its window",
        "use a larger input, a smaller kernel_size, or shrink less before it",
    )


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
    group = "num_groups" in failure.error.message or "vector of size" in failure.error.message
    layer = not failure.op and "eps=" in (failure.call.settings or "")
    fixes = [set_argument(failure, "num_channels" if group else "num_features", got)] if layer else []
    maker = failure.maker(shape, 1)
    if maker is not None:
        fixes.append(f"{OUTPUT_SIZES[maker.class_name]}={expected} in {name_of(maker)}")
    elif shape[-1] == expected:
        fixes.append("if the channels are last, move them to dimension 1")
    return Explanation(f"expects {expected} channels in dimension 1, got {got}", ", or ".join(fixes))


def groups(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """A group norm whose channels cannot be divided into its groups."""
    if (explanation := channels_of_norm(failure, match)) is not None:
        return explanation
    shape = sizes(match[1])
    if len(shape) < 2:
        return None
    return Explanation(
        f"cannot divide {shape[1]} channels into {match[2]} groups", "use a num_groups that divides them"
    )


def dimensions_of_norm(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """A batch or instance norm of the wrong number of spatial dimensions."""
    if "Norm" not in failure.call.class_name or not failure.tensors:
        return None
    flat = match[2] == "2" and failure.call.class_name in ("BatchNorm2d", "BatchNorm3d")
    fix = "BatchNorm1d is for flat features" if flat else ""
    return Explanation(f"expects a {match[1]} input, got {match[2]}D: {shape_text(failure.tensors[0].shape)}", fix)


def one_value(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """A batch norm in training with a single value per channel."""
    return Explanation(
        f"needs more than one value a channel in training, got {shape_text(sizes(match[1]))}",
        "use a batch of 2 or more, or eval mode",
    )


def normalized_shape(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """A layer norm whose shape is not that of the input's last dimensions."""
    expected, shape = sizes(match[1]), sizes(match[2])
    got = shape[-len(expected) :]
    if not expected or not got:
        return None
    fix = "" if failure.op else set_argument(failure, "normalized_shape", list(got) if len(got) > 1 else got[0])
    if len(expected) == 1 and expected[0] in shape[1:-1]:
        fix = f"if dimension {shape.index(expected[0], 1)} is to be normalised, transpose it to the last"
    last = "dimension" if len(expected) == 1 else f"{len(expected)} dimensions"
    return Explanation(f"expects {shape_text(expected)} in the last {last}, got {shape_text(got)}", fix)


def prelu(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """A PReLU whose slopes are for another number of channels."""
    return Explanation(
        f"expects {match[1]} channels in dimension 1, got {match[2]}",
        "" if failure.op else set_argument(failure, "num_parameters", match[2]),
    )


def pixel_shuffle(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """A pixel shuffle whose number of channels is no multiple of its factor squared."""
    return Explanation(f"expects channels that {match[2]} divides, got {match[1]}")


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
    (rf"Given normalized_shape={_SIZES}, expected input .*got input of size{_SIZES}", normalized_shape),
    (r"Found parameter numbers = (\d+) and channel size = (\d+)", prelu),
    (r"input\.size\(-3\)=(\d+) is not divisible by (\d+)", pixel_shuffle),
)
"""Patterns of the messages of torch, each with the function that explains it."""
