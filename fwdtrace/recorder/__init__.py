"""Run a model under observation: a Recording is a `with` block, and its `trace` the finished Trace."""

from fwdtrace.recorder.notes import Options
from fwdtrace.recorder.recording import Recording

__all__ = ["Options", "Recording"]
