"""Importing torch quickly, in a command of one second most of which is that import."""

from __future__ import annotations

import gc
import sys


def import_torch() -> None:
    """Import torch without garbage collection, which would search the 250,000 objects that the import makes.

    They are all kept for as long as the program runs, so later collections leave them out as well.
    """
    if "torch" in sys.modules or not gc.isenabled():
        return
    gc.disable()
    try:
        import torch  # noqa: F401
    finally:
        gc.freeze()
        gc.enable()
