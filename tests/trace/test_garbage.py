"""Garbage collection is off inside the block, and afterwards as it was."""

from __future__ import annotations

import gc

import pytest

from fwdtrace.trace.garbage import nothing_collected


@pytest.mark.parametrize("enabled", [True, False])
def test_nothing_is_collected_in_the_block_and_afterwards_it_is_as_before(enabled: bool) -> None:
    if not enabled:
        gc.disable()
    try:
        with pytest.raises(ZeroDivisionError), nothing_collected():
            assert not gc.isenabled()
            raise ZeroDivisionError
        assert gc.isenabled() is enabled
    finally:
        gc.enable()
