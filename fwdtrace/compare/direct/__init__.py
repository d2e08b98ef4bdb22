"""`model(x)` against `model.forward(x)`: both run on equal copies of a model, and what differs between them."""

__fwdtrace_calls_models__ = True  # a call from here is in the user's place: there is no line of theirs to show
