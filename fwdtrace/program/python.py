"""Start a program as `python SCRIPT ARGS` or `python -m MODULE ARGS` does, with fwdtrace inside.

Python itself runs the program and ends it, so nothing of that is imitated. fwdtrace gets in by a `sitecustomize` that
Python imports while it starts; what tells it to do so is taken out of the environment before the program begins.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from fwdtrace.errors import FwdtraceError
from fwdtrace.program.tracebacks import hide_our_frames

VARIABLE = "FWDTRACE_EXEC"
STARTUP = Path(__file__).with_name("startup")
"""The folder of the `sitecustomize`."""
FORWARDED = {getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)}


def become(program: Sequence[str], module: bool, settings: dict[str, Any]) -> NoReturn:
    """Run Python with the program in place of this process.

    There, `settings_of_this_start` returns the settings, which are values of JSON.
    """
    command = _command(program, module)
    _flush()
    os.execve(command[0], command, _environment(settings))


def run_below(program: Sequence[str], module: bool, settings: dict[str, Any]) -> tuple[int, str]:
    """Run Python with the program in a child process: its exit status, and what it said with `tell`.

    Signals that are sent to this process alone go on to the child; if a signal ends it, the same one ends this process.
    """
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    command = _command(program, module)
    environment = _environment({**settings, "tell": writer})
    _flush()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {*FORWARDED, signal.SIGCHLD})
    child = os.posix_spawn(command[0], command, environment, setsigmask=before)
    os.close(writer)
    status = _wait_for(child)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os.set_blocking(reader, False)  # a process that the program has left behind may hold the other end
    try:
        said = os.read(reader, 1 << 16).decode()
    except BlockingIOError:
        said = ""
    return status, said


def _wait_for(child: int) -> int:
    """The exit status of the child, negative if a signal has ended it."""
    while True:
        number, from_a_process = _next_signal()
        if number == signal.SIGCHLD:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status)
        elif from_a_process:
            os.kill(child, number)


def _next_signal() -> tuple[int, bool]:
    """Wait for a signal; whether a process has sent it, and not the terminal, which sends to the child too."""
    waited = {*FORWARDED, signal.SIGCHLD}
    if hasattr(signal, "sigwaitinfo"):
        told = signal.sigwaitinfo(waited)
        return told.si_signo, told.si_pid != 0
    number = signal.sigwait(waited)
    return number, number != signal.SIGINT


def settings_of_this_start() -> dict[str, Any]:
    """The settings that `become` or `run_below` were given; the environment is then as if there were none.

    If they are for the processes too that this one starts, they stay there, with `child` set.
    """
    told = json.loads(os.environ.pop(VARIABLE))
    settings: dict[str, Any] = told["settings"]
    if "tell" in settings:
        os.set_inheritable(settings["tell"], False)
    if settings.get("for_children"):
        of_children = {name: value for name, value in settings.items() if name != "tell"}
        os.environ[VARIABLE] = json.dumps({**told, "settings": {**of_children, "child": True}})
    elif told["path"] is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = told["path"]
    return settings


def when_imported(name: str, do: Callable[[], None]) -> None:
    """Do this as soon as the module has been imported for the first time."""
    sys.meta_path.insert(0, _Finder(name, do))


@contextlib.contextmanager
def without_collecting() -> Iterator[None]:
    """Collect no garbage meanwhile: imports make hardly any, and each search goes through all that torch has made."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class _Finder:
    """Finds a module where the other finders do, and does something once it has been executed.

    No `MetaPathFinder`: what `importlib.abc` imports, the program may not have imported.
    """

    def __init__(self, name: str, do: Callable[[], None]) -> None:
        self._name = name
        self._do = do

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self._name:
            return None
        others = [finder for finder in sys.meta_path if finder is not self]
        spec = next((spec for finder in others if (spec := finder.find_spec(fullname, path, target))), None)
        if spec is not None and spec.loader is not None:
            self._follow(spec.loader)
        return spec

    def _follow(self, loader: Any) -> None:
        """Have the loader, once it has executed the module, be as it was, and go on with what there is to do."""
        execute = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            del loader.exec_module
            with without_collecting():
                try:
                    execute(module)
                except BaseException as error:
                    hide_our_frames(error)
                    raise
                if self in sys.meta_path:
                    sys.meta_path.remove(self)
                    self._do()

        loader.exec_module = exec_module


def _command(program: Sequence[str], module: bool) -> list[str]:
    if sys.flags.ignore_environment or sys.flags.no_site:
        raise FwdtraceError("exec cannot get into a program where Python runs with -E, -I or -S; leave these out")
    return [sys.executable, *_options(sys.orig_argv, sys.argv), *(["-m"] if module else []), *program]


def _options(command: Sequence[str], arguments: Sequence[str]) -> list[str]:
    """The options of Python itself in a command line that ends with a script or -m MODULE, and these arguments."""
    options = list(command[1 : len(command) - len(arguments) + 1])
    name = options.pop() if options else ""
    if name.startswith("-m"):  # -mNAME, in one word
        return options
    if options and (match := re.fullmatch(r"-(\w*)[mc]", options[-1])):
        return [*options[:-1], *([f"-{match[1]}"] if match[1] else [])]
    return options


def _environment(settings: dict[str, Any]) -> dict[str, str]:
    path = os.environ.get("PYTHONPATH")
    first = os.pathsep.join([str(STARTUP), *([path] if path else [])])
    told = {"python": [sys.prefix, sys.version], "path": path, "settings": settings}
    return {**os.environ, "PYTHONPATH": first, VARIABLE: json.dumps(told)}


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
