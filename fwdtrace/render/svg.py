"""Trace -> the coloured tree as a picture, for pages that cannot show a terminal; it loads no font."""

from __future__ import annotations

import html
import io
import re

from rich.cells import cell_len
from rich.console import Console
from rich.terminal_theme import TerminalTheme

from fwdtrace.render.tree import print_tree
from fwdtrace.trace import Trace

_BACKGROUND, _TEXT = (0x0D, 0x11, 0x17), (0xE6, 0xED, 0xF3)
_RED, _GREEN, _YELLOW = (0xFF, 0x7B, 0x72), (0x3F, 0xB9, 0x50), (0xE3, 0xB3, 0x41)
_BLUE, _MAGENTA, _CYAN = (0x79, 0xC0, 0xFF), (0xD2, 0xA8, 0xFF), (0x76, 0xE3, 0xEA)
_THEME = TerminalTheme(_BACKGROUND, _TEXT, [_BACKGROUND, _RED, _GREEN, _YELLOW, _BLUE, _MAGENTA, _CYAN, _TEXT])
_PICTURE = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
font-size: {char_height}px; white-space: pre }}
{styles}
</style>
<defs>{lines}</defs>
<rect width="{width}" height="{height}" rx="8" fill="#0d1117"/>
<g transform="translate(9, 24)">{backgrounds}<g class="{unique_id}-matrix">{matrix}</g></g>
</svg>
"""
_LENGTH = re.compile(r' textLength="[^"]*"([^>]*>)([^<]*)<')


def svg_text(trace: Trace, *, width: int = 80, depth: int | None = None, fold: bool = True) -> str:
    """The tree as SVG, at most `width` cells wide; `depth` leaves out deeper calls, `fold` folds equal ones."""
    console = recording_console(width)
    print_tree(trace, console, depth=depth, fold=fold)
    picture = console.export_svg(title="", theme=_THEME, code_format=_PICTURE, unique_id="fwdtrace")
    return _LENGTH.sub(_with_room_for_wide_letters, picture)


def recording_console(width: int) -> Console:
    """A console that keeps what is printed on it, colours included, to be exported."""
    return Console(
        file=io.StringIO(),
        record=True,
        width=width,
        color_system="truecolor",
        force_terminal=True,
        legacy_windows=False,
    )


def _with_room_for_wide_letters(match: re.Match[str]) -> str:
    """Give a text with letters two cells wide its own length: rich would squeeze it into a cell for each letter."""
    text = html.unescape(match[2])
    return f"{match[1]}{match[2]}<" if cell_len(text) != len(text) else match[0]
