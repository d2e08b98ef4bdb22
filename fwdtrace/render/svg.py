"""Trace -> the coloured tree as a picture, light or dark as the reader's page is; it loads no font."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.terminal_theme import TerminalTheme

from fwdtrace.render.tree import print_tree, width_of_all_columns
from fwdtrace.trace import Trace

_Colour = tuple[int, int, int]


def _theme(background: _Colour, text: _Colour, *colours: _Colour) -> TerminalTheme:
    """A theme from what is behind, the text, and red, green, yellow, blue, magenta and cyan."""
    return TerminalTheme(background, text, [background, *colours, text])


_DARK = _theme(
    *((0x0D, 0x11, 0x17), (0xE6, 0xED, 0xF3), (0xFF, 0x7B, 0x72), (0x3F, 0xB9, 0x50), (0xE3, 0xB3, 0x41)),
    *((0x79, 0xC0, 0xFF), (0xD2, 0xA8, 0xFF), (0x76, 0xE3, 0xEA)),
)
_LIGHT = _theme(
    *((0xFF, 0xFF, 0xFF), (0x1F, 0x23, 0x28), (0xCF, 0x22, 0x2E), (0x1A, 0x7F, 0x37), (0x9A, 0x67, 0x00)),
    *((0x09, 0x69, 0xDA), (0x82, 0x50, 0xDF), (0x1B, 0x7C, 0x83)),
)
_PICTURE = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
font-size: {char_height}px; white-space: pre }}
.{unique_id}-page {{ fill: #0d1117; stroke: #3d444d }}
{styles}
@media (prefers-color-scheme: light) {{
.{unique_id}-page {{ fill: #ffffff; stroke: #d1d9e0 }}
LIGHT
}}
</style>
<defs>{lines}</defs>
<rect class="{unique_id}-page" width="{width}" height="{height}" rx="8"/>
<g transform="translate(9, 24)">{backgrounds}<g class="{unique_id}-matrix">{matrix}</g></g>
</svg>
"""
_LENGTH = re.compile(r' textLength="[^"]*"([^>]*>)([^<]*)<')


def svg_text(
    trace: Trace,
    *,
    width: int = 80,
    depth: int | None = None,
    fold: bool = True,
    columns: Sequence[str] = (),
    only: Sequence[str] = (),
) -> str:
    """The tree as SVG, `width` cells wide or as wide as all columns need; the rest is as in `tree_text`."""
    console = recording_console(width_of_all_columns(trace, width, depth, fold, columns, only))
    print_tree(trace, console, depth=depth, fold=fold, columns=columns, only=only)
    picture = _exported(console, _DARK, _PICTURE).replace("LIGHT", _exported(console, _LIGHT, "{styles}"), 1)
    return _LENGTH.sub(_with_room_for_wide_letters, picture)


def _exported(console: Console, theme: TerminalTheme, form: str) -> str:
    """What is on the console in the colours of a theme; rich numbers the styles in the same order in each."""
    return console.export_svg(title="", theme=theme, code_format=form, unique_id="fwdtrace", clear=False)


def recording_console(width: int) -> Console:
    """A console that keeps what is printed on it, colours included, to be exported."""
    return Console(
        file=io.StringIO(),
        record=True,
        width=width,
        color_system="truecolor",
        force_terminal=True,
        force_jupyter=False,
        legacy_windows=False,
    )


def _with_room_for_wide_letters(match: re.Match[str]) -> str:
    """Give a text with letters two cells wide its own length: rich would squeeze it into a cell for each letter."""
    text = html.unescape(match[2])
    return f"{match[1]}{match[2]}<" if cell_len(text) != len(text) else match[0]
