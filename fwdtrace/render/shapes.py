"""What goes into a call and comes out of it, in few words: `1×7 i64, mask 1×7` and `(1×7×32, None)`."""

from __future__ import annotations

import re
from collections import Counter

from fwdtrace.render.cells import Listing, joined
from fwdtrace.render.sheet import Sheet
from fwdtrace.render.words import printable
from fwdtrace.trace import Event, Leaf, Op, TensorMeta, tensors_in
from fwdtrace.trace.text import shape_text

MOST_OF_CONTAINER = 4
"""A container with more leaves than this, such as a key-value cache, is only counted."""

_ROOT = re.compile(r"\.?[^.\[]*|\[[^\]]*\]")
_INDEX = re.compile(r"\[\d+\]")
_PLACEMENT = re.compile(r"^([A-Z])\w*\((?:dim=)?(.*)\)$")
_DTYPE = re.compile(r"(bfloat|float|complex|uint|int)(\d+)")
_LETTERS = {"bfloat": "bf", "float": "f", "complex": "c", "uint": "u", "int": "i"}


def inputs(event: Event, sheet: Sheet) -> Listing:
    """What goes in, tensors first and None last; the first tensor without its name. Of an op its operands alone."""
    return _listing(event.inputs, sheet, "operands" if isinstance(event, Op) else "inputs")


def outputs(event: Event, sheet: Sheet) -> Listing:
    """What comes out, tensors first and None last; keys are named, positions are not. ✗ if the call raised."""
    return Listing.of("✗") if event.error else _listing(event.outputs, sheet, "outputs")


def alone(leaves: tuple[Leaf, ...], sheet: Sheet, *, is_output: bool) -> str | None:
    """The shape of the one tensor among the leaves, if it is all there is to say of them; else None."""
    if len(leaves) != 1 or not isinstance(leaf := leaves[0], TensorMeta):
        return None
    return shape_text(leaf.shape) if _is_alone(leaf, is_output) and _is_usual(leaf, sheet) else None


def short_dtype(dtype: str) -> str:
    """The short notation: `bfloat16` is `bf16`, `int64` is `i64`."""
    return _DTYPE.sub(lambda match: _LETTERS[match[1]] + match[2], printable(dtype))


def root_of(name: str) -> str:
    """The argument, or the part of the result, that a leaf is in: `cache` for `cache.layers[0].keys`."""
    if not name or name.isidentifier():
        return name
    root = _ROOT.match(name)
    return root[0] if root else name


def is_none(leaf: Leaf) -> bool:
    """Whether the leaf is None, the argument that was not given."""
    return not isinstance(leaf, TensorMeta) and leaf.value == "None"


def _listing(leaves: tuple[Leaf, ...], sheet: Sheet, side: str) -> Listing:
    key = id(leaves), side  # calls share their leaves, which live as long as the trace
    listing = sheet.listings.get(key)
    if listing is None and len(leaves) == 1 and _is_alone(leaves[0], side == "outputs"):
        listing = sheet.listings[key] = Listing.of(_text("", leaves[0], sheet))
    elif listing is None:
        shown = _operands(leaves) if side == "operands" else leaves
        plain = tuple([leaf for leaf in shown if isinstance(leaf, TensorMeta) and _is_plain(leaf)])
        if plain and len(plain) == len(shown):
            listing = _listing_of_tensors(plain, sheet, side)
        else:
            listing = _new_listing(shown, sheet, side)
        sheet.listings[key] = listing
    return listing


def _operands(leaves: tuple[Leaf, ...]) -> tuple[Leaf, ...]:
    """The tensors that an op was given, and a number if that is its other operand; other arguments are not shown."""
    tensors = tensors_in(leaves)
    if len(tensors) == 1 == len(leaves) - 1 and {leaf.name for leaf in leaves} == {"0", "1"}:
        return leaves
    return tensors or leaves


def _is_alone(leaf: Leaf, is_output: bool) -> bool:
    """Whether it is a tensor that its shape alone stands for, as most calls take and give one."""
    return isinstance(leaf, TensorMeta) and _is_plain(leaf) and not (is_output and leaf.name)


def _is_plain(tensor: TensorMeta) -> bool:
    """Whether it is no part of a container."""
    return "." not in tensor.name and "[" not in tensor.name


def _listing_of_tensors(leaves: tuple[TensorMeta, ...], sheet: Sheet, side: str) -> Listing:
    """The same as `_new_listing` makes, of tensors that are in no container: most are."""
    shapes = tuple([_text("", leaf, sheet) for leaf in leaves])
    labels = [_label(leaf.name, side) for leaf in leaves]
    if side != "outputs":
        labels[0] = ""
    texts = [f"{sheet.text(label)} {shape}" if label else shape for label, shape in zip(labels, shapes, strict=True)]
    bundle = side == "outputs" and len(leaves) > 1
    fields = tuple((text, 1) for text in texts) if side == "outputs" and any(labels) else ()
    whole, least = joined(texts, 0, bundle), joined(shapes[:1], len(leaves) - 1, bundle)
    return Listing(whole, least, shapes, len(leaves), bundle, fields)


def _new_listing(leaves: tuple[Leaf, ...], sheet: Sheet, side: str) -> Listing:
    if not leaves:
        return Listing.of("()")
    is_output = side == "outputs"
    ordered = sorted(leaves, key=lambda leaf: 2 if is_none(leaf) else not isinstance(leaf, TensorMeta))
    if side == "operands" and len(leaves) == 2:  # 1 - x is not x - 1
        ordered = list(leaves)
    sizes = Counter(root_of(leaf.name) for leaf in leaves)
    nothing = sum(map(is_none, leaves))
    texts: list[str] = []
    numbers: list[int] = []
    counted = set()
    for number, leaf in enumerate(ordered):
        root = root_of(leaf.name)
        first = not number and isinstance(leaf, TensorMeta) and not is_output
        if sizes[root] > MOST_OF_CONTAINER and root != leaf.name:
            if root not in counted:
                texts.append(f"{_label(root, side)} {sizes[root]} leaves".lstrip())
                numbers.append(sizes[root])
            counted.add(root)
        elif not is_none(leaf) or nothing == 1:
            texts.append(_text("" if first else _label(leaf.name, side), leaf, sheet))
            numbers.append(1)
    if nothing > 1:
        texts.append(f"{nothing} None")
        numbers.append(nothing)
    shapes = tuple(_text("", leaf, sheet) for leaf in ordered if isinstance(leaf, TensorMeta))
    shapes = shapes or (_text("", ordered[0], sheet),)
    bundle = is_output and (len(leaves) > 1 or leaves[0].name.startswith("["))
    whole, least = joined(texts, 0, bundle), joined(shapes[:1], len(leaves) - 1, bundle)
    has_names = is_output and any(_label(leaf.name, side) for leaf in leaves)
    fields = tuple(zip(texts, numbers, strict=True)) if has_names else ()
    return Listing(whole, least, shapes, len(leaves), bundle, fields)


def _label(name: str, side: str) -> str:
    """The name of a leaf as it is shown: positions have none, neither in an output nor among the operands of an op."""
    if side == "outputs":
        return _INDEX.sub("", name).removeprefix(".")
    return "" if side == "operands" and name[:1].isdigit() else name


def _text(label: str, leaf: Leaf, sheet: Sheet) -> str:
    label = sheet.text(label) if label else ""
    if isinstance(leaf, TensorMeta) and _is_usual(leaf, sheet):
        shape = shape_text(leaf.shape)
        return f"{label} {shape}" if label else shape
    if not isinstance(leaf, TensorMeta):
        value = sheet.text(leaf.value)
        return f"{label}={value}" if label else value
    words = [label] if label else []
    words.append(shape_text(leaf.shape))
    if leaf.dtype != sheet.dtype:
        words.append(short_dtype(leaf.dtype))
    if leaf.layout != "strided":
        words.append(sheet.text(leaf.layout))
    if leaf.device != sheet.device:
        words.append(sheet.text(leaf.device))
    if leaf.local_shape is not None:
        placed = ",".join(_PLACEMENT.sub(_short_placement, sheet.text(placement)) for placement in leaf.placements)
        words.append(f"{placed} here {shape_text(leaf.local_shape)}")
    return " ".join(words)


def _is_usual(tensor: TensorMeta, sheet: Sheet) -> bool:
    """Whether there is nothing to write of it but its shape."""
    same = tensor.dtype == sheet.dtype and tensor.device == sheet.device
    return same and tensor.layout == "strided" and tensor.local_shape is None


def _short_placement(match: re.Match[str]) -> str:
    """The short notation of torch: `Shard(dim=1)` is `S(1)`, `Replicate()` is `R`."""
    return f"{match[1]}({match[2]})" if match[2] else match[1]
