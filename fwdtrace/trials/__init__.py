"""A trace of a crash, and the model: what may help is tried on a copy, and what runs to its end is advice."""

__fwdtrace_calls_models__ = True  # a call from here is in the user's place: there is no line of theirs to show
