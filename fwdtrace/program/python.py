"""Run a script or a module in this process as `python SCRIPT ARGS` or `python -m MODULE ARGS` would."""

from __future__ import annotations

import atexit
import os
import runpy
import signal
import sys
from collections.abc import Callable
from importlib.machinery import SourceFileLoader
from types import FrameType, ModuleType

from fwdtrace.errors import FwdtraceError

_OURS = os.path.dirname(os.path.dirname(__file__)) + os.sep
_ZOO = os.path.join(_OURS, "zoo", "")

_below: list[ModuleType] = []
"""The main module that started us, kept alive: its functions go on running below the program."""


def run_script(file: str, arguments: list[str], at_end: Callable[[], None]) -> None:
    """Run a file as the main module; ends as the program ends, and returns if it comes to its end.

    `at_end` is called when all of the program has ended: its threads, and what it registered with `atexit`.
    """
    try:
        with open(file, "rb") as stream:
            source = stream.read()
    except OSError as error:
        reason = error.strerror
        raise FwdtraceError(f"{file}: cannot be run: {reason}; name a Python file, or -m MODULE") from None
    main = _fresh_main()
    path = main.__file__ = os.path.join(os.getcwd(), file)
    main.__loader__ = SourceFileLoader("__main__", path)
    sys.argv[:] = [file, *arguments]
    _put_first(os.path.dirname(os.path.realpath(file)))
    _run(lambda: exec(compile(source, path, "exec", dont_inherit=True), main.__dict__), at_end)


def run_module(name: str, arguments: list[str], at_end: Callable[[], None]) -> None:
    """Run an importable module, or the `__main__` of a package, as the main module; as `run_script`."""
    _fresh_main()
    sys.argv[:] = ["-m", *arguments]
    _put_first(os.getcwd())
    _run(lambda: runpy._run_module_as_main(name), at_end)  # type: ignore[attr-defined]


def at_kill(do: Callable[[], None]) -> None:
    """Do this before SIGTERM ends the program, as long as the program leaves SIGTERM alone."""
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        return
    process = os.getpid()

    def terminate(number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        try:
            if os.getpid() == process:
                do()
        finally:
            os.kill(os.getpid(), number)

    signal.signal(signal.SIGTERM, terminate)


def _fresh_main() -> ModuleType:
    _below.append(sys.modules["__main__"])
    main = sys.modules["__main__"] = ModuleType("__main__")
    vars(main).update(__builtins__=__builtins__, __cached__=None)
    if sys.version_info < (3, 14):
        vars(main).update(__annotations__={})
    return main


def _put_first(folder: str) -> None:
    if getattr(sys.flags, "safe_path", False) or sys.flags.isolated:
        return
    if sys.path:
        sys.path[0] = folder  # in place of the folder of the command that started us
    else:
        sys.path.append(folder)


def _run(program: Callable[[], object], at_end: Callable[[], None]) -> None:
    """Run the program; an exception is told as Python tells it, but without the frames below the program."""
    process = os.getpid()
    interrupted = False

    def end() -> None:
        if os.getpid() == process:  # and no child that was forked
            at_end()
            if interrupted:
                _die_of_interrupt()

    atexit.register(end)  # the first to be registered is the last to be called
    try:
        program()
    except SystemExit as request:
        _forget_our_frames(request)
        raise
    except BaseException as error:  # whatever the program raises ends it, and nothing else may look at it
        interrupted = isinstance(error, KeyboardInterrupt)
        _forget_our_frames(error)
        sys.excepthook(type(error), error, error.__traceback__)
        raise SystemExit(1) from None  # without a cause, which Python would tell again


def _die_of_interrupt() -> None:
    """End as Python ends when it is interrupted: by the signal, so that the shell knows."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGINT)


def _forget_our_frames(error: BaseException) -> None:
    """Take our frames, and those that only run ours, out of the tracebacks of an exception and of what caused it."""
    pending: list[BaseException | None] = [error]
    passed: set[int] = set()
    while pending:
        each = pending.pop()
        if each is None or id(each) in passed:
            continue
        passed.add(id(each))
        steps = []
        step = each.__traceback__
        while step is not None:
            if not _is_ours(step.tb_frame):
                steps.append(step)
            step = step.tb_next
        below = None
        for step in reversed(steps):
            step.tb_next = below
            below = step
        each.__traceback__ = steps[0] if steps else None
        pending += [each.__cause__, each.__context__, *getattr(each, "exceptions", ())]


def _is_ours(frame: FrameType) -> bool:
    file = frame.f_code.co_filename
    return file.startswith(_OURS) and not file.startswith(_ZOO)
