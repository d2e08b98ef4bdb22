"""What goes into a call and comes out of it, in few words: `1×7 i64, mask 1×7` and `(1×7×32, None)`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from rich.cells import cell_len

from fwdtrace.render.words import cut, printable
from fwdtrace.trace import Call, Leaf, Op, TensorMeta, Trace

MOST_OF_CONTAINER = 4
"""A container with more leaves than this, such as a key-value cache, is only counted."""

_ROOT = re.compile(r"\.?[^.\[]*|\[[^\]]*\]")
_INDEX = re.compile(r"\[\d+\]")
_PLACEMENT = re.compile(r"^([A-Z])\w*\((?:dim=)?(.*)\)$")
_DTYPE = re.compile(r"(bfloat|float|complex|uint|int)(\d+)")
_LETTERS = {"bfloat": "bf", "float": "f", "complex": "c", "uint": "u", "int": "i"}


@dataclass(frozen=True, slots=True)
class Usual:
    """What goes without saying in a trace, because most tensors have it; `encoding` is that of the output."""

    dtype: str
    device: str
    encoding: str = "utf-8"
    listings: dict[tuple[int, str], Listing] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Listing:
    """One side of a call: everything in it by name, the least that stands for it, and the shapes of its tensors.

    `leaves` is how many leaves there are, `bundle` whether they are parts of a tuple or another container.
    """

    whole: str
    least: str
    shapes: tuple[str, ...]
    leaves: int = 1
    bundle: bool = False

    @classmethod
    def of(cls, text: str, shape: str | None = None) -> Listing:
        """One leaf, and its shape if the text says more than that."""
        return cls(text, shape or text, (shape or text,))

    def within(self, width: int) -> str:
        """Everything if `width` cells take it; else as many shapes as they take, and how many leaves are left out."""
        if cell_len(self.whole) <= width:
            return self.whole
        for number in range(min(len(self.shapes), width), 1, -1):
            text = _joined(self.shapes[:number], self.leaves - number, self.bundle)
            if cell_len(text) <= width:
                return text
        room = width - cell_len(self.least) + cell_len(self.shapes[0])
        return (
            _joined([cut(self.shapes[0], room)], self.leaves - 1, self.bundle) if room > 1 else cut(self.least, width)
        )


def usual(trace: Trace, encoding: str = "utf-8") -> Usual:
    """The floating-point type that most tensors have, and the device of the run."""
    leaves = (leaf for call in trace.calls for side in (call.inputs, call.outputs) for leaf in side)
    dtypes = Counter(leaf.dtype for leaf in leaves if isinstance(leaf, TensorMeta) and "float" in leaf.dtype)
    dtype = max(dtypes, key=lambda name: (dtypes[name], name == "float32"), default="float32")
    return Usual(dtype, trace.run.device, encoding)


def inputs(node: Call | Op, known: Usual) -> Listing:
    """What goes in, tensors first and None last; the first tensor goes without its name. Of an op only its operands."""
    return _listing(node.inputs, known, "operands" if isinstance(node, Op) else "inputs")


def outputs(node: Call | Op, known: Usual) -> Listing:
    """What comes out, tensors first and None last; keys are named, positions are not. ✗ if the call raised."""
    return Listing.of("✗") if node.error else _listing(node.outputs, known, "outputs")


def short_dtype(dtype: str) -> str:
    """The short notation: `bfloat16` is `bf16`, `int64` is `i64`."""
    return _DTYPE.sub(lambda found: _LETTERS[found[1]] + found[2], printable(dtype))


def root_of(name: str) -> str:
    """The argument, or the part of the result, that a leaf is in: `cache` for `cache.layers[0].keys`."""
    found = _ROOT.match(name)
    return found[0] if found else name


def is_none(leaf: Leaf) -> bool:
    """Whether the leaf is None, the argument that was not given."""
    return not isinstance(leaf, TensorMeta) and leaf.value == "None"


def _listing(leaves: tuple[Leaf, ...], known: Usual, side: str) -> Listing:
    key = id(leaves), side  # calls share their leaves, which live as long as the trace
    found = known.listings.get(key)
    if found is None:
        shown = _operands(leaves) if side == "operands" else leaves
        found = known.listings[key] = _new_listing(shown, known, is_output=side == "outputs")
    return found


def _operands(leaves: tuple[Leaf, ...]) -> tuple[Leaf, ...]:
    """The tensors an op was given, and a number if that is its second operand; settings go without saying."""
    tensors = [leaf for leaf in leaves if isinstance(leaf, TensorMeta)]
    number = [leaf for leaf in leaves if leaf.name == "1" and not isinstance(leaf, TensorMeta)]
    kept: list[Leaf] = [*tensors, *(number if len(tensors) == 1 == len(leaves) - 1 else [])]
    return tuple(replace(leaf, name="") if leaf.name[:1].isdigit() else leaf for leaf in kept or leaves)


def _new_listing(leaves: tuple[Leaf, ...], known: Usual, *, is_output: bool) -> Listing:
    if not leaves:
        return Listing.of("()")
    ordered = sorted(leaves, key=lambda leaf: 2 if is_none(leaf) else not isinstance(leaf, TensorMeta))
    sizes = Counter(root_of(leaf.name) for leaf in leaves)
    nothing = sum(map(is_none, leaves))
    texts: list[str] = []
    counted = set()
    for number, leaf in enumerate(ordered):
        root = root_of(leaf.name)
        first = not number and isinstance(leaf, TensorMeta) and not is_output
        if sizes[root] > MOST_OF_CONTAINER and root != leaf.name:
            if root not in counted:
                texts.append(f"{_label(root, is_output)} {sizes[root]} leaves".lstrip())
            counted.add(root)
        elif not is_none(leaf) or nothing == 1:
            texts.append(_text("" if first else _label(leaf.name, is_output), leaf, known))
    if nothing > 1:
        texts.append(f"{nothing} None")
    shapes = tuple(_text("", leaf, known) for leaf in ordered if isinstance(leaf, TensorMeta))
    shapes = shapes or (_text("", ordered[0], known),)
    bundle = is_output and (len(leaves) > 1 or leaves[0].name.startswith("["))
    whole, least = _joined(texts, 0, bundle), _joined(shapes[:1], len(leaves) - 1, bundle)
    return Listing(whole, least, shapes, len(leaves), bundle)


def _joined(texts: Sequence[str], left: int, bundle: bool) -> str:
    text = ", ".join([*texts, f"+{left}"] if left else texts)
    return f"({text})" if bundle else text


def _label(name: str, is_output: bool) -> str:
    return _INDEX.sub("", name).removeprefix(".") if is_output else name


def _text(label: str, leaf: Leaf, known: Usual) -> str:
    label = printable(label, known.encoding)
    if not isinstance(leaf, TensorMeta):
        value = printable(leaf.value, known.encoding)
        return f"{label}={value}" if label else value
    words = [label] if label else []
    words.append("×".join("?" if size < 0 else str(size) for size in leaf.shape) or "scalar")
    if leaf.dtype != known.dtype:
        words.append(short_dtype(leaf.dtype))
    if leaf.layout != "strided":
        words.append(printable(leaf.layout, known.encoding))
    if leaf.device != known.device:
        words.append(printable(leaf.device, known.encoding))
    if leaf.local_shape is not None:
        placed = ",".join(_PLACEMENT.sub(_short_placement, printable(each, known.encoding)) for each in leaf.placements)
        words.append(f"{placed} here {'×'.join(map(str, leaf.local_shape)) or 'scalar'}")
    return " ".join(words)


def _short_placement(found: re.Match[str]) -> str:
    """As torch writes it where there is little room: `Shard(dim=1)` is `S(1)`, `Replicate()` is `R`."""
    return f"{found[1]}({found[2]})" if found[2] else found[1]
