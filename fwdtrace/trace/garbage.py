"""Work that makes many values, without Python looking for garbage among them, or among all that was there before."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def nothing_collected() -> Iterator[None]:
    """Have Python look for no garbage where all that is made is needed: in a long trace it would look often."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextmanager
def only_new_collected() -> Iterator[None]:
    """Have Python look for garbage only among what is made meanwhile: what libraries have made takes long to search.

    A call of `gc.freeze` inside leaves out what has been made up to then, too.
    """
    was_frozen = gc.get_freeze_count() > 0
    gc.freeze()
    try:
        yield
    finally:
        if not was_frozen:
            gc.unfreeze()
