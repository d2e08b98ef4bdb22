"""How a watched program ends: by itself, by a signal, or because enough of its calls were kept."""

from __future__ import annotations

import _thread
import atexit
import contextlib
import faulthandler
import gc
import importlib
import io
import os
import select
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

from fwdtrace.program.tracebacks import forget_our_frames

DEADLY = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
MOST_SECONDS = 10.0
"""How long a program that a signal ends may be held up by what there is to do before."""

_ending = threading.Lock()
"""Taken by whoever does what is to be done at the end, and never released: nobody does it again."""

_ended = threading.Event()
"""Set when that is done."""

_program = 0
"""The process of the program, once it is known what to do at its end; that of a child, if the child does it too."""

_pipes: dict[int, tuple[int, int]] = {}
"""For each signal that is waited for, the pipe into which its handler writes."""

_pause: tuple[int, int] = (-1, -1)
"""The pipe by which the thread that waits for signals is told to end."""

_paused = threading.Semaphore(0)


def at_end(do: Callable[[], None], *, in_children: bool = False) -> None:
    """Do this when all of the program has ended: its threads, and what it will register with `atexit`.

    What is printed on stderr then goes to the stderr that the program began with. A forked child does it at its own end
    with `in_children`, and nothing else.
    """
    global _program
    _program = os.getpid()
    ended: list[int] = []

    def end() -> None:
        if os.getpid() != _program or _program in ended:
            return
        _ending.acquire()
        ended.append(_program)
        interrupted = getattr(sys, "last_type", None) is KeyboardInterrupt
        try:
            with contextlib.redirect_stderr(_first_stderr()), contextlib.suppress(OSError):
                do()
        finally:
            _ended.set()
        if interrupted:
            _remember_interrupt()
        _leave_signals_alone()
        _end_by_signal_that_came()

    def in_child() -> None:
        global _program
        _program = os.getpid()
        _end_with_multiprocessing(end)

    atexit.register(end)  # the first to be registered is the last to be called
    if in_children:
        os.register_at_fork(after_in_child=in_child)
        if "--multiprocessing-fork" in sys.orig_argv:
            importlib.import_module("multiprocessing.util")  # as the process is about to do itself
            _end_with_multiprocessing(end)


def an_error_ended_it() -> bool:
    """Whether an error ended the main thread; only then is what explains one imported."""
    return isinstance(getattr(sys, "last_exc", None) or getattr(sys, "last_value", None), Exception)


def _end_with_multiprocessing(end: Callable[[], None]) -> None:
    """Do this at the end of a process of multiprocessing, which runs no exit handlers where it was forked.

    An error that ends it is left where Python leaves one that ends a program.
    """
    util: Any = sys.modules.get("multiprocessing.util")
    if util is None:
        return

    def remember_and_end() -> None:
        error = sys.exc_info()[1]
        if isinstance(error, SystemExit) and _is_torchs(error):
            error = error.__context__
        if isinstance(error, Exception):
            sys.last_value = error
            forget_our_frames(error)
        end()

    def finalize(_: object = None) -> None:
        util.Finalize(None, remember_and_end, exitpriority=-1000)  # after all of the program's own

    finalize()
    util.register_after_fork(end, finalize)  # for multiprocessing forgets them all in a process that it forks


def _is_torchs(error: SystemExit) -> bool:
    """Whether this is how torch's `spawn` ends a process that raised, after it has sent the error home."""
    step = error.__traceback__
    while step is not None and step.tb_next is not None:
        step = step.tb_next
    return step is not None and step.tb_frame.f_globals.get("__name__") == "torch.multiprocessing.spawn"


def _remember_interrupt() -> None:
    """Have Python end by SIGINT, as it does after a Ctrl-C that nobody caught.

    It forgets that there was one when text is executed next, and to define a dataclass is to execute text.
    """
    with contextlib.suppress(KeyboardInterrupt):
        exec("raise KeyboardInterrupt")


def at_kill(do: Callable[[], None]) -> None:
    """Do this before SIGTERM or SIGHUP ends the program, each as long as the program leaves the signal alone.

    Python calls a handler only between two of its own instructions. So the handler is the one of `faulthandler`, which
    runs at once, also inside native code, and only writes into a pipe that a thread reads. To the program the signal
    looks as if nobody handled it. Native code that keeps Python's global lock holds up that thread.
    """
    if not hasattr(faulthandler, "register"):  # as on Windows
        return
    global _pause
    _pause = os.pipe()
    for number in DEADLY:
        if signal.getsignal(number) is signal.SIG_DFL:
            _pipes[number] = os.pipe()

    def wait() -> None:
        if _pipes:
            _handle_signals()
            _thread.start_new_thread(_wait_for_signal, (do,))  # of which `threading` need not know

    wait()
    # A child must not have our handler for an instant: what it got would be taken for the parent's.
    os.register_at_fork(before=_pause_waiting, after_in_parent=wait, after_in_child=_pipes.clear)


def _wait_for_signal(do: Callable[[], None]) -> None:
    readers = {reader: number for number, (reader, _) in _pipes.items()}
    ready, _, _ = select.select([*readers, _pause[0]], [], [])
    if ready == [_pause[0]]:
        os.read(_pause[0], 1)
        _paused.release()
        return

    def try_to() -> None:
        if _ending.acquire(blocking=False):  # else the program is ending by itself, and is let come to its end
            with contextlib.redirect_stderr(_first_stderr()), contextlib.suppress(Exception):
                do()
            _ended.set()

    _thread.start_new_thread(try_to, ())  # which may have to wait for what the program holds
    _ended.wait(MOST_SECONDS)
    _leave_signals_alone()
    os.kill(os.getpid(), readers[ready[0]])


def _handle_signals() -> None:
    for number, (_, writer) in _pipes.items():
        if signal.getsignal(number) is signal.SIG_DFL:
            faulthandler.register(number, file=writer, all_threads=False)


def _leave_signals_alone() -> None:
    for number in _pipes:
        if signal.getsignal(number) is signal.SIG_DFL:  # and not the program's own by now
            faulthandler.unregister(number)


def _end_by_signal_that_came() -> None:
    """End by a signal that came before the program's end, as the thread that waits for one may not run again."""
    readers = {reader: number for number, (reader, _) in _pipes.items()}
    came, _, _ = select.select([*readers], [], [], 0) if readers else ([], [], [])
    for reader in came:
        if signal.getsignal(readers[reader]) is signal.SIG_DFL:
            os.kill(os.getpid(), readers[reader])


def _pause_waiting() -> None:
    if _pipes:
        _leave_signals_alone()
        os.write(_pause[1], b"x")
        _paused.acquire()


def stop() -> SystemExit:
    """An error to raise that ends the whole program, with status 0, from any thread.

    Raised in the main thread it ends the program as `sys.exit()` does. Where it is caught and dropped, by a bare
    `except` or because another thread ends by it, the program ends then and there: its exit handlers run, what its
    files hold back is written, and the rest of it does not run.
    """
    error = SystemExit(0)
    error.dropped = _Dropped()  # type: ignore[attr-defined]
    return error


class _Dropped:
    """Lives as long as the error that ends the program, of which no subclass will do: threads print those."""

    def __del__(self) -> None:
        if os.getpid() == _program and not sys.is_finalizing() and not _main_thread_ends():
            _end_now()


def _main_thread_ends() -> bool:
    """Whether this is the main thread at its very end, and no other thread keeps the program running."""
    main = threading.main_thread()
    if threading.get_ident() != main.ident:
        return False
    if not main.is_alive():  # it runs the exit handlers
        return True
    if sys._getframe(1).f_back is not None:  # `__del__` was called in the middle of the program
        return False
    return all(thread is main or thread.daemon for thread in threading.enumerate())


def _end_now() -> None:
    """End the process with status 0 from any thread, after its exit handlers; no other code of the program runs."""
    atexit._run_exitfuncs()
    for each in gc.get_objects():
        if issubclass(type(each), io.TextIOWrapper | io.BufferedWriter | io.BufferedRandom):
            with contextlib.suppress(Exception):
                each.flush()
    os._exit(0)


def _first_stderr() -> io.TextIOBase:
    """The stderr that Python began with, or one that nobody reads."""
    if sys.__stderr__ is None or sys.__stderr__.closed:
        return io.StringIO()
    return sys.__stderr__
