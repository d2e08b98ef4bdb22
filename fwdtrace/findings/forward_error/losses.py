"""FT006 for losses, whose target does not fit what the model gave."""

from __future__ import annotations

import re

from fwdtrace.findings.forward_error.changes import Step
from fwdtrace.findings.forward_error.failure import Explain, Explanation, Failure
from fwdtrace.trace import Shape, TensorMeta
from fwdtrace.trace.text import shape_text

OF_CLASSES = ("crossentropyloss", "cross_entropy", "nllloss", "nll_loss")
"""The losses, by the names of class and function, whose target may be the number of a class for each example."""


def target_of_classes(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """A loss over classes that was given a target of another shape."""
    pair = _input_and_target(failure)
    if pair is None or not _is_of_classes(failure) or len(pair[0].shape) < 2:
        return None
    given, target = pair
    wanted = (given.shape[0], *given.shape[2:])
    if target.shape in (wanted, given.shape):
        return None
    says = f"expects a target of {shape_text(wanted)} for an input of {shape_text(given.shape)}, {_got(target.shape)}"
    if (ones := _ones_beyond(target.shape, wanted)) is not None:
        return Explanation(says, failure.passed(Step("squeeze", (ones,)), tensor=1))
    if len(given.shape) == 3 and target.shape == given.shape[:2]:
        says += f"; dimension 1 has {given.shape[1]} classes, or the classes are last"
        return Explanation(says, failure.passed(Step("transpose", (1, 2))))
    return Explanation(says)


def target_of_the_same_size(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """A loss over numbers that was given a target of another shape."""
    pair = _input_and_target(failure)
    if pair is None or ("loss" not in _name(failure) and "cross_entropy" not in _name(failure)):
        return None
    given, target = pair
    if given.shape == target.shape:
        return None
    says = f"expects a target of {shape_text(given.shape)}, as its input is, {_got(target.shape)}"
    convert: tuple[Step, ...] = ()
    if "float" in given.dtype and "float" not in target.dtype:
        says = f"expects a target of {shape_text(given.shape)} {given.dtype}, as its input is"
        says += f", {_got(target.shape)} {target.dtype}"
        convert = (Step("to", (f"torch.{given.dtype}",)),)
    if (ones := _ones_beyond(given.shape, target.shape)) is not None:
        return Explanation(says, failure.passed(Step("unsqueeze", (ones,)), *convert, tensor=1))
    if (ones := _ones_beyond(target.shape, given.shape)) is not None:
        return Explanation(says, failure.passed(Step("squeeze", (ones,)), *convert, tensor=1))
    return Explanation(says)


def dtype_of_target(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """A loss whose target is of another dtype than it takes."""
    pair = _input_and_target(failure)
    if pair is None or ("loss" not in _name(failure) and "cross_entropy" not in _name(failure)):
        return None
    given, target = pair
    wanted = "int64" if _is_of_classes(failure) else given.dtype
    says = f"expects a target of {wanted}, got {target.dtype}"
    return Explanation(says, failure.passed(Step("to", (f"torch.{wanted}",)), tensor=1))


def class_outside(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """A loss over classes that was given the number of a class that there is not."""
    pair = _input_and_target(failure)
    if pair is None or not _is_of_classes(failure) or len(pair[0].shape) < 2:
        return None
    classes = pair[0].shape[1]
    says = f"has an input of {classes} classes, so targets run from 0 to {classes - 1}; got {match[1]}"
    says += f", at {failure.error.outside.name}" if failure.error.outside is not None else ""
    return Explanation(says, failure.maker_built(pair[0], 1, int(match[1]) + 1) if int(match[1]) >= classes else ())


def probability_outside(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """A loss over probabilities that was given numbers outside 0 to 1."""
    says = "expects an input of probabilities, from 0 to 1, got others"
    return Explanation(says, failure.passed(Step("sigmoid"))) if _input_and_target(failure) is not None else None


def _input_and_target(failure: Failure) -> tuple[TensorMeta, TensorMeta] | None:
    return failure.tensors[:2] if len(failure.tensors) > 1 else None  # type: ignore[return-value]


def _name(failure: Failure) -> str:
    return (failure.op.name if failure.op else failure.call.class_name).lower()


def _is_of_classes(failure: Failure) -> bool:
    return "binary" not in _name(failure) and any(name in _name(failure) for name in OF_CLASSES)


def _ones_beyond(shape: Shape, wanted: Shape) -> int | None:
    """The dimension of size 1 without which a shape is the wanted one."""
    places = (at for at, size in enumerate(shape) if size == 1 and (*shape[:at], *shape[at + 1 :]) == wanted)
    return next(places, None)


def _got(shape: Shape) -> str:
    return f"got {shape_text(shape)}"


LOSSES: tuple[tuple[str, Explain], ...] = (
    (
        r"spatial targets supported|size mismatch \(got input|to match target batch_size|multi-target not supported"
        r"|Expected target size",
        target_of_classes,
    ),
    (r"[Tt]arget size \(.*\) (?:must be the same as|that is different to the) input size", target_of_the_same_size),
    (r"expected target dtype|Found dtype \w+ but expected|can't be cast to the desired output type", dtype_of_target),
    (r"all elements of input should be between 0 and 1", probability_outside),
    (r"Target (-?\d+) is out of bounds", class_outside),
)
"""Patterns of the messages of torch, each with the function that explains it."""
