"""`fwdtrace exec`: run an unmodified program and record the calls of its models, under torchrun too."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

from fwdtrace.cli.declared import SAVE, argument, option, parameters_of
from fwdtrace.cli.fail_on import AskedToFail, codes_of
from fwdtrace.cli.files import check_files, check_values_file
from fwdtrace.cli.options import Chosen, FailOn, Measured, Shown, with_what_is_shown
from fwdtrace.errors import FwdtraceError
from fwdtrace.program.rank_files import ranks_of

OBSERVED_BY = "fwdtrace.cli.report:observed_program"
"""What the process of the program takes to save and to report."""


def exec(
    measured: Measured,
    shown: Shown,
    chosen: Chosen,
    program: Annotated[
        list[str],
        argument(metavar="SCRIPT [ARGS]...", takes_the_rest=True, help="A Python file, and what is handed to it."),
    ],
    module: Annotated[bool, option("-m", help="SCRIPT is the name of a module, as in python -m.")] = False,
    output: Annotated[
        list[Path] | None,
        option(
            "-o",
            "--output",
            metavar="FILE",
            panel=SAVE,
            help="Save there instead of showing on stderr; repeatable.",
        ),
    ] = None,
    fail_on: FailOn = "",
) -> None:
    """Run a program as Python would, and show the calls of its models.

    Of each model it keeps the first call in training, and the first other call if that ran other modules or ops.
    Everything after SCRIPT is the script's. Its output stays its own; the calls are shown on stderr when it has ended.

    Example: fwdtrace exec -o first.json train.py --lr 1e-3
    """
    ways = {"--first": chosen.first, "--call": chosen.call, "--every": chosen.every, "--train": chosen.train or None}
    given = [name for name, value in ways.items() if value is not None]
    if len(given) > 1:
        raise FwdtraceError(f"{' and '.join(given)} are different ways to choose calls; give one of them")
    codes = codes_of(fail_on)
    files = output or []
    check_files(files)
    check_values_file(measured.save_values)
    script = program[0]
    if not module and script != "-" and not os.path.exists(script):
        raise FwdtraceError(_no_program(program))
    from fwdtrace.program.program import Program
    from fwdtrace.program.python import become, run_below

    paths = [str(file.absolute()) for file in files]
    values = str(measured.save_values.absolute()) if measured.save_values is not None else None
    measured = replace(with_what_is_shown(measured, shown), save_values=None)
    wanted = {**asdict(measured), "save_values": values, **asdict(chosen), "save_step": _folder_for_step(chosen)}
    if chosen.children:
        from fwdtrace.program.children import new_folder

        wanted["children"] = new_folder()
    else:
        wanted["children"] = None
    settings = {
        "program": asdict(Program(script, module, files=paths, **wanted)),
        "shown": {name: getattr(shown, name) for name in dir(shown) if not name.startswith("_")},
        "codes": sorted(codes),
        "behind": [] if module else _behind(program),
        "observed_by": OBSERVED_BY,
        "for_children": chosen.children,
    }
    if ranks_of(os.environ) is not None:
        from fwdtrace.cli.report import observed_program

        observed_program(settings)  # what cannot be begun is refused before anything runs
    if not codes:
        become(program, module, settings)
    status, found = run_below(program, module, settings)
    if status == 0 and found:
        raise AskedToFail(f"failing as --fail-on asks: {found}")
    sys.exit(status)


def _no_program(program: list[str]) -> str:
    """That the script is not there, and what might be meant."""
    script, *rest = program
    if re.fullmatch(r"python[\d.]*", script) and rest:
        return f"{script}: leave it out, as exec stands in its place: fwdtrace exec {' '.join(rest)}"
    from fwdtrace.models.spec import nearest_script

    return f"{script}: there is no such file{nearest_script(Path(script))}; name a Python file, or -m MODULE"


def _folder_for_step(chosen: Chosen) -> str | None:
    """The folder of --save-step, of each rank another one in it; FwdtraceError if nothing could be saved there."""
    if chosen.save_step is None:
        return None
    if not set(chosen.on or ()) - {"error", "signal"}:
        raise FwdtraceError("--save-step saves the call in which something happens; say what by --on nonfinite")
    if find_spec("safetensors") is None:
        raise FwdtraceError("--save-step needs safetensors; run `pip install safetensors`")
    ranks = ranks_of(os.environ)
    folder = chosen.save_step if ranks is None else chosen.save_step / f"rank{ranks.own}"
    return str(folder.absolute())


def _behind(program: list[str]) -> list[str]:
    """The options of ours that stand behind the script, if the text of the script has no such option itself."""
    names = {name for each in parameters_of(exec) for both in each.names for name in both.split("/")}
    ours = {name for name in names if name.startswith("--")}
    given = {word.partition("=")[0] for word in program[1:]} & ours
    if not given:
        return []
    try:
        text = Path(program[0]).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    words = {name: name.strip("-").replace("-", "_") for name in given}
    text = text.replace("-", "_")  # in which `net.train()` is no option
    return sorted(name for name, word in words.items() if not re.search(rf"(?<![a-z]){word}\b(?!\()", text))
