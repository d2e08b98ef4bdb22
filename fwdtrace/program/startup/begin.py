"""Have the models of the program watched as soon as it makes one, and what was kept reported when it has ended."""

from __future__ import annotations

import os
import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

from fwdtrace.program.endings import at_end, at_kill
from fwdtrace.program.python import settings_of_this_start, when_imported, without_collecting
from fwdtrace.program.signals import heed_signal

if TYPE_CHECKING:
    from fwdtrace.program.observed import ObservedProgram


def begin() -> None:
    """Called by Python before it runs the program; nothing of ours is imported here that is not needed yet."""
    settings = settings_of_this_start()
    begun: list[ObservedProgram] = []
    child = settings.get("child", False)
    first = os.getpid()

    def observed() -> ObservedProgram:
        if not begun:
            forked = os.getpid() != first
            begun.append(_observed({**settings, "child": child or forked}))
        return begun[0]

    def wait_for_a_module() -> None:
        from fwdtrace.program.first_module import FirstModule

        at_kill(lambda: observed().killed())
        FirstModule(watch, lambda module: observed().learn_of(module))

    def watch() -> None:
        if os.getpid() != first and not settings.get("for_children"):
            return  # a forked process, that nobody follows
        with without_collecting(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what we import: the filters are the program's
            observed().begin()

    def end() -> None:
        if not begun and (child or os.getpid() != first):
            return
        with without_collecting():
            observed().end()
        found = begun[0].codes & set(settings["codes"])
        if found and not begun[0].is_child:  # the process that asked for these codes waits for this one
            os.write(settings["tell"], ", ".join(sorted(found)).encode())

    if "signal" in (settings["program"]["on"] or ()):
        heed_signal()
    at_end(end, in_children=settings.get("for_children", False))
    when_imported("torch", wait_for_a_module)


def _observed(settings: dict[str, Any]) -> ObservedProgram:
    """What the command that started this process has named to save and to report."""
    module, _, function = settings["observed_by"].partition(":")
    observed: ObservedProgram = getattr(import_module(module), function)(settings)
    return observed
