"""Two traces, or two models that are run, to what differs between them and how far their numbers are apart."""

from fwdtrace.compare.traces import How, compare_traces

__all__ = ["How", "compare_traces"]

__fwdtrace_calls_models__ = True  # a call from here is in the user's place: there is no line of theirs to show
