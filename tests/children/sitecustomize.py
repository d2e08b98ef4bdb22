"""What a child process of the tests imports by itself: torchvision can be imported in it, and no deadline passes.

It is apart from the stand-in for torchvision's operators, which serves commands as they are.
"""

from __future__ import annotations

import tests.helpers.deadlines
import tests.torchvision_shim.sitecustomize  # noqa: F401  (both are imported for what they install)
