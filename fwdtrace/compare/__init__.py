"""Two traces to what differs between them, and how far apart their numbers are. Free of torch."""

from fwdtrace.compare.traces import How, Measure, compare_traces

__all__ = ["How", "Measure", "compare_traces"]
