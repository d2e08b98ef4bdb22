"""The help of a command in panels: the options that belong together stand together, as plain text."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand

from fwdtrace.cli.declared import ARGUMENTS, HELP, MEASURE, OPTIONS, SAVE, SHOW

LAST = (ARGUMENTS, OPTIONS, MEASURE, SHOW, SAVE, HELP)
"""The panels that come last, in this order; others stand in the order of their first option."""


class PanelledCommand(TyperCommand):
    """A command whose help has a section for each panel, those about the result last.

    An argument is named there and in the usage line as the messages name it, without the name of its Python type.
    """

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """What stands behind the command in the usage line; what may be left out is in brackets."""
        arguments = [each for each in self.get_params(ctx) if each.param_type_name == "argument"]
        return ["[OPTIONS]", *(f"{each.metavar}" if each.required else f"[{each.metavar}]" for each in arguments)]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write a section for each panel; the help itself is in one of its own."""
        panels: dict[str, list[Any]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is None:
                continue
            panel = getattr(parameter, "rich_help_panel", None)
            if parameter.param_type_name == "argument":
                panels.setdefault(panel or ARGUMENTS, []).append((parameter.metavar, record[1]))
            else:
                panels.setdefault(panel or (HELP if parameter.name == "help" else OPTIONS), []).append(record)
        for title in sorted(panels, key=lambda title: LAST.index(title) if title in LAST else -1):
            with formatter.section(title):
                formatter.write_dl(panels[title])
