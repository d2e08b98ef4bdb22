"""The command line: arguments in, text and exit status out. The only place that knows exit statuses.

Exit status 0 is fine; 1 is what the user asked to fail on; 2 is trouble: bad usage, spec or file, or a model raised.
"""

from __future__ import annotations

from typing import NoReturn

from fwdtrace.run.cold_start import collect_seldom, ended_by_ctrl_c

__fwdtrace_calls_models__ = True  # a call from here is in the user's place: there is no line of theirs to show


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line, or these arguments in its place, and end the program."""
    collect_seldom()
    with ended_by_ctrl_c():
        from fwdtrace.cli.ending import run_command

        run_command(arguments)
