"""Somebody's program under watch: it runs as under `python`, and the calls of its models are recorded."""

__fwdtrace_calls_models__ = True  # a call that raised is run once more, in the program's place
