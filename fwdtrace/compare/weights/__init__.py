"""Which weights of one model are those of another: each pair is proved by running both, and a map says it."""

__fwdtrace_calls_models__ = True  # a call from here is in the user's place: there is no line of theirs to show
