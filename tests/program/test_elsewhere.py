"""An error that another process has sent as text is told in a few lines: who raised it, where, by which code."""

from __future__ import annotations

from fwdtrace.program.elsewhere import raised_elsewhere

TRACEBACK = f"""Traceback (most recent call last):
  File "/usr/lib/python3/site-packages/torch/utils/data/_utils/fetch.py", line 57, in fetch
    return self.collate_fn(data)
           ^^^^^^^^^^^^^^^^^^^^^
  File "{__file__}", line 8, in pad
    return torch.stack(rows)
RuntimeError: stack expects each tensor to be equal size
"""
BELOW = TRACEBACK.replace(__file__, "/usr/lib/python3/site-packages/torch/utils/data/_utils/collate.py")


class RemoteTraceback(Exception):
    """Has the name of what the standard library puts behind an error of a pool."""


def test_an_error_of_a_worker_is_told_with_the_line_of_the_program_that_raised_it() -> None:
    error = RuntimeError(f"Caught RuntimeError in DataLoader worker process 3.\nOriginal {TRACEBACK}")
    assert raised_elsewhere(error, "train.py:9") == (
        "DataLoader worker process 3 raised RuntimeError at test_elsewhere.py:8\n"
        "  in pad: return torch.stack(rows)\n"
        "  RuntimeError: stack expects each tensor to be equal size"
    )


def test_where_only_a_library_raised_it_the_line_that_got_it_is_told() -> None:
    error = RuntimeError(f"Caught RuntimeError in DataLoader worker process 0.\nOriginal {BELOW}")
    said = raised_elsewhere(error, "train.py:9")
    assert said is not None
    assert said.startswith("DataLoader worker process 0 raised RuntimeError at train.py:9\n  in pad: ")


def test_an_error_of_a_pool_is_known_by_what_it_came_from() -> None:
    error = RuntimeError("stack expects each tensor to be equal size")
    assert raised_elsewhere(error, "train.py:9") is None
    error.__cause__ = RemoteTraceback(f'\n"""\n{TRACEBACK}"""')
    said = raised_elsewhere(error, "train.py:9")
    assert said is not None and said.startswith("another process raised RuntimeError at test_elsewhere.py:8\n")


def test_a_text_with_a_traceback_of_the_program_itself_is_no_word_of_another_process() -> None:
    assert raised_elsewhere(RuntimeError(f"it failed: {TRACEBACK}"), "") is None
