"""`%load_ext fwdtrace` in a notebook: `%%fwdtrace` runs a cell as `fwdtrace exec` runs a program, with its options."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import asdict, replace
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
import typer.main

from fwdtrace.cli.declared import option
from fwdtrace.cli.files import check_files, check_values_file
from fwdtrace.cli.options import Chosen, Measured, Shown, with_what_is_shown
from fwdtrace.cli.sets import as_typer_takes_it
from fwdtrace.cli.terminal import to_stderr
from fwdtrace.cli.usage import WrongUsage, in_one_line
from fwdtrace.errors import FwdtraceError

CELL = "cell"
"""The name of the program, after which files are named where nobody has named one."""


def load_ipython_extension(shell: Any) -> None:
    """Called by `%load_ext fwdtrace`."""

    def fwdtrace(line: str, cell: str) -> None:
        """Run the cell, and show the first call of each model that it calls; `%%fwdtrace --help` lists the options."""
        _run_cell(shell, line, cell)

    shell.register_magic_function(fwdtrace, "cell", "fwdtrace")


def unload_ipython_extension(shell: Any) -> None:
    """Called by `%unload_ext fwdtrace`."""
    shell.magics_manager.magics["cell"].pop("fwdtrace", None)


def _run_cell(shell: Any, line: str, cell: str) -> None:
    with redirect_stderr(sys.stdout):  # what is on stderr a notebook shows as an error
        words: list[str] = []
        try:
            words = shlex.split(line)
            settings = _settings_of(words)
        except (FwdtraceError, WrongUsage) as error:
            to_stderr(f"fwdtrace: {in_one_line(error, words) if isinstance(error, WrongUsage) else error}")
            return
    if settings is None:  # for --help, which has been shown
        return
    from fwdtrace.cli.report import observed_program

    observed = observed_program(settings)
    observed.begin_in_session()
    raised = True
    try:
        with _our_frames_hidden(shell), _named_as_this_cell(shell):
            # The lines count from that of the magic; IPython leaves out empty ones, and has a magic stand first.
            below = cell if cell.lstrip().startswith("%%") else f"# %%fwdtrace {line}\n{cell}"
            raised = not shell.run_cell(below, store_history=False).success
    finally:
        with redirect_stderr(sys.stdout):
            observed.end(raised=raised)


def _settings_of(arguments: list[str]) -> dict[str, Any] | None:
    """The settings of a program as `exec` makes them of its options; None where these only ask for help."""
    given: list[dict[str, Any]] = []

    def fwdtrace(
        measured: Measured,
        shown: Shown,
        chosen: Chosen,
        output: Annotated[
            list[Path] | None,
            option("-o", "--output", metavar="FILE", help="Save there instead of showing it; repeatable."),
        ] = None,
    ) -> None:
        """Run a cell, and show the first call of each model that it calls."""
        files = output or []
        check_files(files)
        check_values_file(measured.save_values)
        if chosen.children:
            raise FwdtraceError("--children follows the processes of a program, under fwdtrace exec, not of a cell")
        values = str(measured.save_values) if measured.save_values is not None else None
        wanted = {**asdict(replace(with_what_is_shown(measured, shown), save_values=None)), **asdict(chosen)}
        program = {**wanted, "script": CELL, "files": [str(file) for file in files], "save_values": values}
        options = {name: getattr(shown, name) for name in dir(shown) if not name.startswith("_")}
        given.append({"program": {**program, "children": None}, "shown": options, "codes": [], "behind": []})

    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command()(as_typer_takes_it(fwdtrace))
    typer.main.get_command(app).main(arguments, prog_name="%%fwdtrace", standalone_mode=False)
    return given[0] if given else None


@contextmanager
def _named_as_this_cell(shell: Any) -> Iterator[None]:
    """Have what is compiled named by the number of the cell that runs: IPython may have counted on to the next one."""
    compiler = shell.compile
    number = _number_of_this_cell(compiler)
    cache = compiler.cache
    if number is None:
        yield
        return
    compiler.cache = lambda text, count=0, raw_code=None: cache(text, number, raw_code=raw_code)
    try:
        yield
    finally:
        del compiler.cache


def _number_of_this_cell(compiler: Any) -> int | None:
    """The number of the cell that called the magic, `In[3]`; None where no cell did."""
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        name = compiler.format_code_name(frame.f_code.co_filename)
        if name is not None and (match := re.fullmatch(r"In\[(\d+)\]", name[1])):
            return int(match[1])
        frame = frame.f_back
    return None


@contextmanager
def _our_frames_hidden(shell: Any) -> Iterator[None]:
    """Have the notebook show tracebacks without frames of ours."""
    from fwdtrace.program.tracebacks import forget_our_frames

    before = shell.custom_exceptions, shell.CustomTB

    def show(shell: Any, kind: Any, error: BaseException, traceback: Any, tb_offset: int | None = None) -> None:
        forget_our_frames(error)
        shell.showtraceback((kind, error, error.__traceback__), tb_offset=tb_offset)

    shell.set_custom_exc((Exception,), show)
    try:
        yield
    finally:
        shell.custom_exceptions, shell.CustomTB = before
