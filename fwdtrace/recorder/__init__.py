"""Run a model under observation: `record(model)` gives a Recording, whose `trace` is the finished Trace."""

from fwdtrace.recorder.notes import Options
from fwdtrace.recorder.recording import Recording, record

__all__ = ["Options", "Recording", "record"]
