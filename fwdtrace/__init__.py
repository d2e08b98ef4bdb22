"""What really runs when a PyTorch model is called: every call, in order, with its shapes and the line it came from.

    cli ─► run, program, render ─► compare, trials ─► recorder, models ─► findings ─► trace ─► errors ─► version

Importing this package does not import torch; the first use of `record` does.

PYTEST_DONT_REWRITE: below `exec` the package is there before pytest, which would warn of that.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fwdtrace.version import __version__ as __version__

if TYPE_CHECKING:
    from fwdtrace.cli.notebook import load_ipython_extension as load_ipython_extension
    from fwdtrace.cli.notebook import unload_ipython_extension as unload_ipython_extension
    from fwdtrace.compare import compare_traces as compare_traces
    from fwdtrace.compare.direct.experiment import compare_direct as compare_direct
    from fwdtrace.errors import FwdtraceError as FwdtraceError
    from fwdtrace.program.block import watch as watch
    from fwdtrace.trace import Trace as Trace
    from fwdtrace.trace.read import load_trace as load_trace
    from fwdtrace.trials.record import record as record

_HOME = {
    "FwdtraceError": "fwdtrace.errors",
    "Trace": "fwdtrace.trace",
    "compare_direct": "fwdtrace.compare.direct.experiment",
    "compare_traces": "fwdtrace.compare",
    "load_ipython_extension": "fwdtrace.cli.notebook",
    "load_trace": "fwdtrace.trace.read",
    "record": "fwdtrace.trials.record",
    "unload_ipython_extension": "fwdtrace.cli.notebook",
    "watch": "fwdtrace.program.block",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'fwdtrace' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
