"""What may help against a failure is tried on a copy of the model: only what runs to its end is advice."""

__fwdtrace_calls_models__ = True  # a call from here is in the user's place: there is no line of theirs to show
