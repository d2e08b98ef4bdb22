"""`model(x)` against `model.forward(x)`: `compare_direct` runs both on equal copies and says what differs."""

from fwdtrace.direct.experiment import Setting, compare_direct, run_experiments
from fwdtrace.direct.inventory import inventory_of

__all__ = ["Setting", "compare_direct", "inventory_of", "run_experiments"]

__fwdtrace_calls_models__ = True  # a call from here is in the user's place: there is no line of theirs to show
