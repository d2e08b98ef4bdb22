"""The functions that draw a value when it is printed or saved: imported only then, as they import the values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

VIEWS = {
    "tree": "fwdtrace.render.tree:tree_text",
    "notebook": "fwdtrace.render.notebook:notebook_html",
    "frame": "fwdtrace.render.frame:frame_of",
    "two-traces": "fwdtrace.render.two_traces:changes_text",
    "direct-forward": "fwdtrace.render.direct_forward:comparison_text",
    ".trace.json": "fwdtrace.render.timeline:timeline_text",
    ".csv": "fwdtrace.render.csv:csv_text",
    ".html": "fwdtrace.render.html:html_text",
    ".mmd": "fwdtrace.render.mermaid:mermaid_text",
    ".dot": "fwdtrace.render.dot:dot_text",
    ".md": "fwdtrace.render.markdown:markdown_text",
    ".txt": "fwdtrace.render.tree:tree_text",
    ".svg": "fwdtrace.render.svg:svg_text",
}
"""For each view, or suffix, the function that draws it. This is the only place where a value names what is above it."""

_ROWS = ("depth", "fold", "only")
FORMS = {
    **dict.fromkeys((".trace.json", ".csv", ".html"), ()),
    **dict.fromkeys((".mmd", ".dot"), _ROWS),
    ".md": (*_ROWS, "columns"),
    **dict.fromkeys((".txt", ".svg"), (*_ROWS, "columns", "width")),
}
"""For each suffix the options that its form takes."""


def form_for(name: str, options: dict[str, Any]) -> Callable[[Any], str] | None:
    """The function that writes a trace in the form for a file of this name, with the options that the form takes.

    None where the suffix is of no form: the file is then JSON, as is `.json`.
    """
    suffix = next((suffix for suffix in FORMS if name.endswith(suffix)), None)
    if suffix is None:
        return None
    return partial(view(suffix), **{option: options[option] for option in FORMS[suffix]})


@dataclass(frozen=True)
class Drawn:
    """The tree of a trace with the options that were chosen: text where it is printed, in colour in a notebook."""

    trace: Any
    options: dict[str, Any]

    def __str__(self) -> str:
        text: str = view("tree")(self.trace, **self.options)
        return text

    __repr__ = __str__

    def _repr_html_(self) -> str:
        text: str = view("notebook")(self.trace, **self.options)
        return text


def view(name: str) -> Callable[..., str]:
    """The function that draws this view of a value; KeyError if there is no such view."""
    module, _, function = VIEWS[name].partition(":")
    drawn: Callable[..., str] = getattr(import_module(module), function)
    return drawn
