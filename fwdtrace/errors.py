"""The errors that a user can do something about: each says what was tried, what is there, and what to do."""

from __future__ import annotations

SKIPPED_BY_WARNINGS = "<fwdtrace, which warnings skip as they skip importlib._bootstrap>"
"""The file name, in tracebacks, of code of ours that runs between the program's own functions.

`warnings` counts no frame whose file name has these two words, so that a `stacklevel` goes to the line that it would go
to without us.
"""


class FwdtraceError(Exception):
    """Something the user asked for cannot be done; the text is one line and says what to do.

    With `full_traceback`, that of the cause is shown with the frames of torch.
    """

    full_traceback = False


class SpecError(FwdtraceError):
    """A model spec names nothing that can be built into a module."""


class InputError(FwdtraceError):
    """An `--input` cannot be turned into a tensor."""


class TraceFileError(FwdtraceError):
    """A file is not a trace that this fwdtrace reads."""


class ModelError(FwdtraceError):
    """The user's model raised while it ran; what it raised is the cause (`__cause__`), and `why` says it again."""

    def __init__(self, spec: str, why: str = "") -> None:
        text = f"{spec!r} raised while it ran; the traceback above is its own"
        super().__init__(f"{text}\n{why}" if why else text)
