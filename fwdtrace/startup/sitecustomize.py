"""Python imports this before the program that `fwdtrace exec` starts: it has the program's models watched.

It stands first on the PYTHONPATH for this one start, under the name that Python looks for; one of the user's own
comes right after it.
"""

import os
import sys

_folder = os.path.dirname(os.path.abspath(__file__))

sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != _folder]
sys.path_importer_cache.pop(_folder, None)
sys.path.insert(0, os.path.dirname(os.path.dirname(_folder)))  # where fwdtrace may be known to nobody but the command that ran
try:
    from fwdtrace.startup.begin import begin
finally:
    del sys.path[0]

begin()
del sys.modules["sitecustomize"], begin
import sitecustomize  # noqa: E402, F401  (if there is none, Python expects just this ImportError)
