"""Trace -> a pandas DataFrame: the rows and the columns of the CSV, with numbers as numbers."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from fwdtrace.errors import FwdtraceError
from fwdtrace.render.csv import COLUMNS, rows_of
from fwdtrace.trace import Trace


def frame_of(trace: Trace) -> Any:
    """A row for every call and op; what was not measured is missing. FwdtraceError if there is no pandas."""
    try:
        pandas = import_module("pandas")
    except ImportError:
        raise FwdtraceError("to_frame needs pandas; run `pip install pandas`, or save a .csv file") from None
    return pandas.DataFrame(list(rows_of(trace)), columns=list(COLUMNS))
