"""Two models -> what both give on the same inputs, and how far that is apart, by rounding or by more."""

__fwdtrace_calls_models__ = True  # a call from here is in the user's place: there is no line of theirs to show
