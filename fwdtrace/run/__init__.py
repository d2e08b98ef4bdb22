"""What a command does with a spec: it is loaded, fed and recorded, and a Trace or a Comparison comes out."""

__fwdtrace_calls_models__ = True  # a call from here is in the user's place: there is no line of theirs to show
