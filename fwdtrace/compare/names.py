"""`--map OLD=NEW`: the qualified names of one model as those of another, where the two name a module otherwise."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TypeVar

from fwdtrace.errors import FwdtraceError

T = TypeVar("T")


class Renames:
    """What `OLD=NEW` maps make of a name, such as `encoder.{i}.attn=blocks.{i}.attention`.

    FwdtraceError if a map cannot be read.
    """

    def __init__(self, maps: Iterable[str]) -> None:
        self._patterns = [_pattern(text) for text in maps]

    def __call__(self, name: str) -> str:
        """The name by the map that matches most of it, or the name itself."""
        matches = [(match, new) for pattern, new in self._patterns if (match := pattern.match(name))]
        if not matches:
            return name
        match, new = max(matches, key=lambda pair: pair[0].end())
        return match.expand(new) + name[match.end() :]


def renamed(values: Mapping[str, T], maps: Iterable[str]) -> dict[str, T]:
    """The values, which are keyed by qualified name, keyed by the names that the maps make of those."""
    rename = Renames(maps)
    return {rename(name): value for name, value in values.items()}


def _pattern(text: str) -> tuple[re.Pattern[str], str]:
    """A map as a pattern that matches the old names, and the template of the new ones."""
    old, equals, new = text.partition("=")
    if not equals or not old or not new:
        raise FwdtraceError(f"--map {text}: write OLD=NEW, as in 'encoder.layer.{{i}}.attention=blocks.{{i}}.attn'")
    parts = re.split(r"\{(\w+)\}", old)  # every other part is the name of a placeholder
    placeholders = parts[1::2]
    unknown = [name for name in re.findall(r"\{(\w+)\}", new) if name not in placeholders]
    if unknown or len(set(placeholders)) != len(placeholders):
        wrong = unknown[0] if unknown else placeholders[0]
        raise FwdtraceError(f"--map {text}: {{{wrong}}} must be on the left once, and may be on the right")
    pattern = "".join(f"(?P<{part}>[^.]+)" if number % 2 else re.escape(part) for number, part in enumerate(parts))
    return re.compile(rf"{pattern}(?=\.|$)"), re.sub(r"\{(\w+)\}", r"\\g<\1>", new.replace("\\", "\\\\"))
