"""What a command does with a spec: it builds the model, runs and records it, and gives a Trace or a Comparison."""

__fwdtrace_calls_models__ = True  # a call from here is in the user's place: there is no line of theirs to show
