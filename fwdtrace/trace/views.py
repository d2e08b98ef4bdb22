"""The functions that draw a value when it is printed, by name: imported only then, as they import the values."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

VIEWS = {
    "tree": "fwdtrace.render.tree:tree_text",
    "notebook": "fwdtrace.render.notebook:notebook_html",
    "two-traces": "fwdtrace.render.two_traces:changes_text",
    "direct-forward": "fwdtrace.render.direct_forward:comparison_text",
}
"""For each view the function that draws it. This is the only place where a value names what is above it."""


def view(name: str) -> Callable[[Any], str]:
    """The function that draws this view of a value; KeyError if there is no such view."""
    module, _, function = VIEWS[name].partition(":")
    drawn: Callable[[Any], str] = getattr(import_module(module), function)
    return drawn
