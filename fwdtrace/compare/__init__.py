"""Two traces to what differs between them, and how far apart their numbers are. Free of torch."""

from fwdtrace.compare.traces import How, Measure, compare_traces

__all__ = ["How", "Measure", "compare_traces"]

__fwdtrace_calls_models__ = True  # a call from here is in the user's place: there is no line of theirs to show
