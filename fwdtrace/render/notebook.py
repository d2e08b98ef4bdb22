"""Trace -> the coloured tree as a piece of HTML, for a notebook that shows what a cell gave."""

from __future__ import annotations

from typing import Any

from fwdtrace.render.svg import recording_console
from fwdtrace.render.tree import print_tree
from fwdtrace.trace import Trace

_PIECE = (
    '<pre style="line-height: 1.25; white-space: pre; overflow-x: auto; font-family: ui-monospace, Menlo, Consolas, '
    "'DejaVu Sans Mono', monospace\">{code}</pre>"
)


def notebook_html(trace: Trace, *, width: int = 120, **options: Any) -> str:
    """The tree in a `<pre>`, at most `width` cells wide, with its styles inline and all text escaped.

    The options are those of the tree.
    """
    console = recording_console(width)
    print_tree(trace, console, **options)
    return console.export_html(inline_styles=True, code_format=_PIECE)
