"""Two traces, or two models that are run, to what differs between them and how far their numbers are apart."""

from fwdtrace.compare.traces import How, compare_traces

__all__ = ["How", "compare_traces"]
