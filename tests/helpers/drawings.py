"""Traces that are worth drawing, and ways to take a drawing apart, for the tests of the renderers."""

from __future__ import annotations

import base64
import json
import zlib
from textwrap import dedent
from typing import Any

from fwdtrace.render.tree import tree_text
from fwdtrace.trace import CallError, Op, Site, Trace, Value
from tests.helpers.traces import call, tensor, trace

HEAD = "model.py:Net · torch 2.13.0 · eval, no grad · cpu · 1,234 parameters"
"""The first line of the tree of a trace made by hand."""

HOSTILE = (
    *("</script><script>alert(1)</script>", "[red]x[/red]", "a|b", "\"quoted'", "`code`", "*bold*", "🙂", "שלום"),
    *("\u202ea", "a\nb", "\x1b[31m"),
)
"""Names that would break out of a format that took them for more than text."""


def drawn(text: str) -> str:
    return dedent(text).strip("\n")


def rows(shown: Trace, width: int = 80, **options: Any) -> list[str]:
    """The rows of the tree, without header, titles and what stands below."""
    return tree_text(shown, width=width, **options).split("\n\n")[1].split("\n")[1:]


def row_of(name: str, shown: Trace, width: int = 120) -> str:
    """The one row that begins with this name, guides apart."""
    (found,) = (row for row in rows(shown, width) if row.lstrip("├└╴│ ").startswith(name))
    return found


def below_root(**fields: Any) -> Trace:
    """A root that makes one call, with these fields."""
    return trace(call(0, None, "", "Net"), call(1, 0, fields.pop("path", "layer"), "Layer", **fields))


def blocks(number: int, **last: Any) -> Trace:
    """Blocks of two layers in a row, then a norm; `last` are fields in which the last block differs."""
    calls = [call(0, None, "", "Net", parameters=99)]
    for index in range(number):
        at = len(calls)
        fields = last if index == number - 1 else {}
        calls += [
            call(at, 0, f"layers.{index}", "Block", parameters=2128, **fields),
            call(at + 1, at, f"layers.{index}.up", "Linear", (1, 16), (1, 64), depth=2, parameters=1088),
            call(at + 2, at, f"layers.{index}.down", "Linear", (1, 64), (1, 16), depth=2, parameters=1040),
        ]
    return trace(*calls, call(len(calls), 0, "norm", "LayerNorm", parameters=32))


def failing() -> Trace:
    """The second layer of a body raises."""
    message = "mat1 and mat2 shapes cannot be multiplied (1x400 and 256x120)"
    above = CallError("RuntimeError", message, raised_below=True)
    return trace(
        call(0, None, "", "Net", (1, 3), parameters=9, error=above),
        call(1, 0, "body", "Sequential", (1, 3), error=above),
        call(2, 1, "body.0", "Conv2d", (1, 3), depth=2),
        call(3, 1, "body.1", "Linear", (1, 400), depth=2, error=CallError("RuntimeError", message)),
    )


def hostile(text: str) -> Trace:
    """A trace with this text in every place that a model can put one."""
    site = Site(f"/home/{text}.py", 3, text, text)
    root = call(0, None, "", text, site=site)
    inner = call(1, 0, text, text, site=site, inputs=(tensor(2, name=text), Value(text, text)))
    failed = call(2, 0, f"b.{text}", text, site=site, error=CallError(text, text))
    return trace(root, inner, failed, spec=text, ops=(Op(3, 0, text, (Value(text, text),), (tensor(2),), site),))


def page_data(page: str) -> dict[str, Any]:
    """What the page holds, as its script reads it."""
    kind, _, rest = page.partition('<script type="')[2].partition('" id="data">')
    text = rest.partition("</script>")[0]
    if kind != "application/json":
        text = zlib.decompress(base64.b64decode(text)).decode()
    found: dict[str, Any] = json.loads(text)
    return found


def page_cells(page: str, column: str) -> list[str]:
    """The texts in a column of the page, for each row of its first trace."""
    view = page_data(page)["traces"][0]
    words = [(view["kinds"][kind].get(column, ""), own.split("\x7f")) for _, kind, _, _, _, own in view["rows"]]
    return [own[word] if isinstance(word, int) else word for word, own in words]
