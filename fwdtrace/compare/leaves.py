"""What the leaves of a call say about it: the dtypes, values and shapes by which two calls are compared."""

from __future__ import annotations

import re
from collections.abc import Iterable

from fwdtrace.trace import Call, Event, Leaf, Site, TensorMeta, Value, shapes_in
from fwdtrace.trace.text import shapes_text

_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{6,}\b")


def dtypes_of(leaves: Iterable[Leaf]) -> tuple[str, ...]:
    """The dtypes of the tensors among the leaves."""
    return tuple(leaf.dtype for leaf in leaves if isinstance(leaf, TensorMeta))


def other_values(leaves: Iterable[Leaf]) -> tuple[str, ...]:
    """The leaves that are not tensors, each as `name=value`, or the value alone if it has no name."""
    values = (leaf for leaf in leaves if isinstance(leaf, Value))
    return tuple(f"{leaf.name}={value}" if leaf.name else value for leaf in values for value in [lasting(leaf.value)])


def lasting(text: str) -> str:
    """The text without addresses of objects, which are others in each run."""
    return _ADDRESS.sub("0x…", text)


def outputs_begin_alike(call: Call, other: Call) -> bool:
    """Whether two calls give tensors of the same shapes, as far as both give some: one may give a cache after them."""
    ours, theirs = shapes_in(call.outputs), shapes_in(other.outputs)
    common = min(len(ours), len(theirs))
    return ours[:common] == theirs[:common] if common else ours == theirs


def tensors_in_words(leaves: tuple[Leaf, ...]) -> str:
    """The shapes and the dtypes as text: `2×3, 1×4 float32`."""
    return f"{shapes_text(leaves)} {', '.join(dict.fromkeys(dtypes_of(leaves)))}".strip()


def line_of(site: Site | None) -> str:
    """The file without its folders, and the line."""
    return f"{site.file.replace(chr(92), '/').rpartition('/')[2]}:{site.line}" if site is not None else ""


def class_or_op(event: Event) -> str:
    """The class of the module that is called, or the name of the op."""
    return event.class_name if isinstance(event, Call) else event.name


def with_number(event: Event) -> str:
    """The same, where an operator has a number on one side with that: `* 1.01` and `8 /`."""
    name = class_or_op(event)
    numbers = [leaf for leaf in event.inputs if isinstance(leaf, Value)] if name in ("*", "/") else []
    if len(numbers) != 1:
        return name
    try:
        number = f"{float(numbers[0].value):.6g}"
        return f"{number} {name}" if name == "/" and numbers[0].name == "0" else f"{name} {number}"
    except ValueError:
        return name


_LIKE_NONE = frozenset(("None", "False", "0", "0.0", "()", "[]"))
"""What an argument is most often when it is left out."""


_SIDES = {"0": "left", "1": "right"}
"""Where an operand of an operator stands, by its place."""


def changed_arguments(one: Event, two: Event) -> tuple[list[str], list[str]]:
    """The arguments that are no tensors and not the same, if both are of one name: `is_causal=False became True`.

    Second come those that only one of the two is given, if they say anything: they may be what is there without them.
    """
    if class_or_op(one) != class_or_op(two):
        return [], []
    ours, theirs = _values(one.inputs), _values(two.inputs)
    changed, alone = [], []
    if len(ours) == len(theirs) == 1 and {*ours, *theirs} == set(_SIDES):  # 1 - x and x - 1
        return [
            " became ".join(f"{value} on the {_SIDES[at]}" for side in (ours, theirs) for at, value in side.items())
        ], []
    for name in dict.fromkeys([*ours, *theirs]):
        before, after = ours.get(name), theirs.get(name)
        label = "" if name.isdigit() or not name else f"{name}="
        if before is not None and after is not None:
            changed += [f"{label}{before} became {after}"] if before != after else []
        elif before is not None and before not in _LIKE_NONE and not _is_given(name, before, theirs, ours):
            alone.append(f"{label}{before} is given in the first only")
        elif after is not None and after not in _LIKE_NONE and not _is_given(name, after, ours, theirs):
            alone.append(f"{label}{after} is given in the second only")
    return changed, alone


def _is_given(name: str, value: str, others: dict[str, str], own: dict[str, str]) -> bool:
    """Whether the other is given the same without its name, or with it: `dim=1` and `1`."""
    return any(
        other == value and each not in own and each.isdigit() != name.isdigit() for each, other in others.items()
    )


def _values(leaves: Iterable[Leaf]) -> dict[str, str]:
    return {leaf.name: lasting(leaf.value) for leaf in leaves if isinstance(leaf, Value)}
