"""Importing torch in a command of a second, most of which is that import."""

from __future__ import annotations

import gc
import sys


def import_torch() -> None:
    """Import torch without searching the 250,000 objects that it makes for garbage, now, later and at the end."""
    if "torch" in sys.modules or not gc.isenabled():
        return
    gc.disable()
    try:
        import torch  # noqa: F401
    finally:
        gc.freeze()
        gc.enable()
