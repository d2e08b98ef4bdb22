"""Python imports this before the program that `fwdtrace exec` starts: it has the program's models watched.

It stands first on the PYTHONPATH for this one start, or for those of the program's own processes too, under the name
that Python looks for; one of the user's own comes right after it.
"""

import os
import sys


def _is_for_this_python() -> bool:
    """Whether the program runs in this Python; a process of it may be another one, that cannot even read fwdtrace."""
    if "FWDTRACE_EXEC" not in os.environ:
        return False
    import json

    python: list[str] = json.loads(os.environ["FWDTRACE_EXEC"])["python"]
    return python == [sys.prefix, sys.version]


_folder = os.path.dirname(os.path.abspath(__file__))

sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != _folder]
sys.path_importer_cache.pop(_folder, None)
if _is_for_this_python():
    # fwdtrace may be found only from the folder in which the command was started, which is not on the path yet.
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(_folder))))
    try:
        from fwdtrace.program.startup.begin import begin
    finally:
        del sys.path[0]

    begin()
    del begin
del sys.modules["sitecustomize"]
# If there is no other one, Python expects just the ImportError that this gives.
import sitecustomize  # type: ignore[import-not-found]  # noqa: E402, F401
