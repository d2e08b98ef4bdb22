"""The help of a command in panels: the options that belong together stand together, as plain text."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand

from fwdtrace.cli.declared import HELP, MEASURE, SAVE, SHOW

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
