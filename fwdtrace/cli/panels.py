"""The help of a command in panels: the options that belong together stand together, as plain text."""

from __future__ import annotations

import copy
from typing import Annotated, Any, get_args

from typer.core import TyperCommand

MODEL, PROGRAM, TRACE, MEASURE, SHOW, SAVE, HELP = (
    *("Model and input", "Program", "Trace", "Measure", "Show", "Save", "Help"),
)
LAST = (MEASURE, SHOW, SAVE, HELP)
"""The panels that come last, in this order; others stand in the order of their first option."""


class PanelledCommand(TyperCommand):
    """A command whose help has a section for each panel, those about the result last."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write a section for each panel; the help itself is in one of its own."""
        panels: dict[str, list[Any]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                panels.setdefault(getattr(parameter, "rich_help_panel", None) or HELP, []).append(record)
        for title in sorted(panels, key=lambda title: LAST.index(title) if title in LAST else -1):
            with formatter.section(title):
                formatter.write_dl(panels[title])


def in_panel(hint: Any, panel: str | None) -> Any:
    """The annotation of an option with the panel that it belongs to, unless it names one itself."""
    notes = get_args(hint)
    if panel is None or len(notes) < 2:
        return hint
    option = copy.copy(notes[-1])
    option.rich_help_panel = option.rich_help_panel or panel
    return Annotated[notes[0], option]
