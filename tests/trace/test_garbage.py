"""Garbage collection is off inside the block, and afterwards as it was."""

from __future__ import annotations

import gc

import pytest

from fwdtrace.trace.garbage import nothing_collected, only_new_collected


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


def test_what_was_there_before_is_left_out_of_the_search_and_no_longer_than_asked() -> None:
    gc.unfreeze()
    with only_new_collected():
        assert gc.get_freeze_count() > 0
    assert gc.get_freeze_count() == 0


def test_what_was_left_out_of_the_search_before_stays_so() -> None:
    gc.freeze()
    try:
        with only_new_collected():
            pass
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()
