"""The short texts that all of fwdtrace writes in the same way: shapes, names of calls, lines, counted nouns, lists.

The texts are for people: a program reads the fields of the trace instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

from fwdtrace.trace.values import Call, CallError, Event, Leaf, Op, Shape, Site, TensorMeta, shapes_in

MOST_LISTED = 3
"""A longer list of names in a sentence shows its first few, and counts the others."""


@lru_cache(4096)
def shape_text(shape: Shape) -> str:
    """A shape as people write it: `1×3×32×32`; `scalar` for no dimension, `?` for the size of a ragged one."""
    return "×".join("?" if size < 0 else str(size) for size in shape) or "scalar"


def shapes_text(leaves: Iterable[Leaf], nothing: str = "none") -> str:
    """The shapes of the tensors among the leaves: `2×3, scalar`; `nothing` if there is no tensor."""
    return ", ".join(map(shape_text, shapes_in(leaves))) or nothing


def source_text(tensor: TensorMeta) -> str:
    """Where a tensor came from: `12`, an id, `parameter fc.weight`, `12 changed by 17`; "" if that is not known."""
    source = tensor.source
    if source is None:
        text = ""
    elif source.id is not None:
        text = f"{source.id} of call {source.call}" if source.call is not None else str(source.id)
    else:
        kinds = ("argument", "parameter", "buffer", "attribute", "hook")
        text = next((f"{kind} {getattr(source, kind)}" for kind in kinds if getattr(source, kind) is not None), "")
    return text if tensor.changed_by is None else f"{text} changed by {tensor.changed_by}".lstrip()


def path_text(path: str | None) -> str:
    """A module by its path: `layers.0`, `the model` for the root, `a module outside the tree` if it has no path."""
    return "a module outside the tree" if path is None else path or "the model"


def name_of(event: Event) -> str:
    """What a person calls an op or the module of a call: the class, if the module is outside the tree."""
    if isinstance(event, Op):
        return event.name
    return event.class_name if event.path is None else path_text(event.path)


def with_nth(name: str, nth: int) -> str:
    """A name, and which call of the module is meant if it is not the first: `sig`, `sig #2`."""
    return name if nth == 1 else f"{name} #{nth}"


def name_with_class(call: Call) -> str:
    """The module of a call, which of its calls this is, and its class: `sig #2 (Sigmoid)`."""
    return f"{with_nth(name_of(call), call.nth)} ({call.class_name})"


def file_and_line(file: str, line: int) -> str:
    """A line of code without the folders of its file: `net.py:12`."""
    name = file.replace("\\", "/").rpartition("/")[2]
    return f"{name}:{line}"


def site_text(site: Site | None) -> str:
    """A site without the folders of its file: `net.py:12`; "" if it is not known."""
    return file_and_line(site.file, site.line) if site is not None else ""


def line_in_brackets(event: Event) -> str:
    """What stands behind the name of a call or op to say where it is: ` (line 12)`; "" if that is not known."""
    return f" (line {event.site.line})" if event.site is not None else ""


def error_text(error: CallError) -> str:
    """The type of an error and its message: `ValueError: no such row`; the type alone if there is no message."""
    return f"{error.type}: {error.message}" if error.message else error.type


def plural(number: int, noun: str, plural_noun: str | None = None) -> str:
    """A number with its noun: `1 call`, `12,000 calls`; `plural_noun` is for a plural that takes more than an s."""
    return f"{number:,} {noun if number == 1 else plural_noun or f'{noun}s'}"


def multiplied(number: int) -> str:
    """How many there are of what stands before: `×12`."""
    return f"×{number:,}"


def how_often(number: int) -> str:
    """How often something happened: `never`, `once`, `twice`, `3 times`."""
    return {0: "never", 1: "once", 2: "twice"}.get(number, f"{number:,} times")


def with_article(noun: str) -> str:
    """`an int`, `a tuple`."""
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"


def listed(names: Sequence[str], most: int = MOST_LISTED) -> str:
    """Names in a sentence: `a`, `a and b`, `a, b and c`; of many the first `most`: `a, b, c and 9 more`.

    One name more than `most` is still shown, as the words for it would take as much room.
    """
    if len(names) > most + 1:
        return first_few(names, most)
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def first_few(names: Sequence[str], most: int, more: str = "more") -> str:
    """Names between commas, at most `most` of them, and how many are left out: `a, b`, `a, b, c and 9 more`."""
    left_out = f" and {len(names) - most:,} {more}" if len(names) > most else ""
    return ", ".join(names[:most]) + left_out
