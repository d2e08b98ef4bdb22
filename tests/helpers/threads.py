"""Work that several threads do at the same time, changing places as often as they can."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


def in_threads(number: int, work: Callable[[], object]) -> None:
    """Have each of so many threads do the work; what one of them raises is raised."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(number) as pool:
            for done in [pool.submit(work) for _ in range(number)]:
                done.result()
    finally:
        sys.setswitchinterval(interval)
