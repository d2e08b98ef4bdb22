"""`kill -USR1` as a wish: the next call of a model is to be recorded."""

from __future__ import annotations

import signal
from types import FrameType

SIGNAL = getattr(signal, "SIGUSR1", None)

_wishes: list[int] = []
"""The signals that came since a call was recorded for one."""


def heed_signal() -> None:
    """From now on, take the signal for a wish, unless the program handles it; in the main thread."""
    if SIGNAL is not None and signal.getsignal(SIGNAL) is signal.SIG_DFL:
        signal.signal(SIGNAL, _came)


def ignore_signal() -> None:
    """Leave the signal as it was found."""
    if SIGNAL is not None and signal.getsignal(SIGNAL) is _came:
        signal.signal(SIGNAL, signal.SIG_DFL)
    _wishes.clear()


def is_wished() -> bool:
    """Whether a call is to be recorded now; the wish is then fulfilled."""
    wished = bool(_wishes)
    _wishes.clear()
    return wished


def _came(number: int, frame: FrameType | None) -> None:
    _wishes.append(number)
