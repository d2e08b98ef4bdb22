"""How much memory this machine, or the container it runs in, has."""

from __future__ import annotations

import math
import os
from pathlib import Path

_CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")


def memory() -> float:
    """The memory that a program can use here, in bytes; infinity if the system does not say."""
    try:
        machine: float = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        machine = math.inf
    try:
        limit = _CONTAINER_LIMIT.read_text().strip()
    except OSError:
        return machine
    return min(machine, float(limit)) if limit.isdigit() else machine
