"""FT006 for weights that do not fit the model they are loaded into: names with a prefix, and other shapes."""

from __future__ import annotations

import re

from fwdtrace.findings.forward_error.failure import Explain, Explanation, Failure, sizes
from fwdtrace.trace.text import listed, plural, shape_text

_SIZES = re.compile(
    r"size mismatch for (\S+): copying a param with shape (.*?) from checkpoint, .*? is (.*?)\.\s*$", re.M
)

MOST_SHAPES = 3


def weights_that_do_not_fit(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """`load_state_dict` with names or shapes that are not the model's."""
    text = failure.error.message
    missing, unexpected = _names(text, "Missing"), _names(text, "Unexpected")
    into = f"cannot load these weights into {match[1]}:"
    for more, fewer, side in ((unexpected, missing, "the loaded names"), (missing, unexpected, "the model's names")):
        prefix = _prefix(more, fewer)
        if prefix:
            where = "; DataParallel and DistributedDataParallel save such names" if prefix == "module." else ""
            says = f"{into} {side} begin with {prefix!r}, and the others do not{where}"
            return Explanation(says, note=_rename(prefix) if side == "the loaded names" else "")
    parts = [f"{plural(len(missing), 'name')} missing, {listed(missing)}"] if missing else []
    parts += (
        [f"{plural(len(unexpected), 'name')} that the model does not have, {listed(unexpected)}"] if unexpected else []
    )
    shapes = [
        f"{name} is {_shape(given)}, and the model's is {_shape(own)}" for name, given, own in _SIZES.findall(text)
    ]
    parts += shapes[:MOST_SHAPES]
    if len(shapes) > MOST_SHAPES:
        parts.append(f"and {plural(len(shapes) - MOST_SHAPES, 'more tensor')} of another shape")
    return Explanation(f"{into} {'; '.join(parts)}") if parts else None


def _names(text: str, kind: str) -> list[str]:
    found = re.search(rf"{kind} key\(s\) in state_dict: (.*?)\. *$", text, re.M)
    return re.findall(r'"(.*?)"', found[1]) if found else []


def _prefix(more: list[str], fewer: list[str]) -> str:
    """What all of the names begin with, if without it they are the others; "" if there is no such thing."""
    begins = [more[0][: -len(name)] for name in fewer if more[0].endswith(f".{name}")] if more else []
    return next((each for each in begins if {f"{each}{name}" for name in fewer} == set(more)), "")


def _rename(prefix: str) -> str:
    return f"load {{name.removeprefix({prefix!r}): tensor for name, tensor in state.items()}}"


def _shape(text: str) -> str:
    return shape_text(sizes(text))


LOADING: tuple[tuple[str, Explain], ...] = ((r"^Error\(s\) in loading state_dict for (\w+):", weights_that_do_not_fit),)
"""Patterns of the messages of torch, each with the function that explains it."""
