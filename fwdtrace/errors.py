"""The errors fwdtrace raises for what its user can mend: each says what was tried, what was found and what to do."""

from __future__ import annotations


class FwdtraceError(Exception):
    """Something the user asked for cannot be done; the text is one line and says what to do."""


class SpecError(FwdtraceError):
    """A model spec names nothing that can be built into a module."""


class InputError(FwdtraceError):
    """An `--input` cannot be turned into a tensor."""


class TraceFileError(FwdtraceError):
    """A file is not a trace that this fwdtrace reads."""
