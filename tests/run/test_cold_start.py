"""torch is imported without collecting garbage, which is collected again afterwards."""

from __future__ import annotations

import subprocess
import sys

from tests.helpers.commands import REPOSITORY


def test_torch_is_imported_without_collecting_garbage_which_is_collected_afterwards() -> None:
    code = (
        "import gc, sys; from fwdtrace.run.cold_start import import_torch; gc.collect(); "
        "before = gc.get_stats()[2]['collections'], 'torch' in sys.modules; import_torch(); import torch; "
        "print(gc.get_stats()[2]['collections'] - before[0], before[1], gc.isenabled(), gc.get_freeze_count() > 10**5)"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert ran.stdout == "0 False True True\n"
