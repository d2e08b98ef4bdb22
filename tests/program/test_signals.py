"""A signal is a wish for one recording, as long as the program leaves the signal alone."""

from __future__ import annotations

import os
import signal

from fwdtrace.program.signals import heed_signal, ignore_signal, is_wished


def test_several_signals_before_a_call_are_one_wish() -> None:
    heed_signal()
    os.kill(os.getpid(), signal.SIGUSR1)
    os.kill(os.getpid(), signal.SIGUSR1)
    assert (is_wished(), is_wished()) == (True, False)
    ignore_signal()
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL


def test_a_handler_of_the_programs_own_stays() -> None:
    came: list[int] = []
    signal.signal(signal.SIGUSR1, lambda number, frame: came.append(number))
    try:
        heed_signal()
        os.kill(os.getpid(), signal.SIGUSR1)
        assert (is_wished(), len(came)) == (False, 1)
        ignore_signal()
        assert signal.getsignal(signal.SIGUSR1) is not signal.SIG_DFL
    finally:
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)
