"""Work that several threads do at the same time, with as many switches between them as possible."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


def in_threads(number: int, work: Callable[[], object]) -> None:
    """Run the work in this number of threads at once; an exception in one of them is raised here."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(number) as pool:
            for future in [pool.submit(work) for _ in range(number)]:
                future.result()
    finally:
        sys.setswitchinterval(interval)
