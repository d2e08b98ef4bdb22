"""All that torch may say of a failure, and who explains it."""

from __future__ import annotations

from fwdtrace.findings.arguments import ARGUMENTS
from fwdtrace.findings.layers import LAYERS
from fwdtrace.findings.products import PRODUCTS
from fwdtrace.findings.sequences import SEQUENCES
from fwdtrace.findings.sizes import SIZES

# In this order: a tensor of the wrong kind first, since what torch says of it can also read like a wrong shape.
KINDS = (*ARGUMENTS, *LAYERS, *SEQUENCES, *PRODUCTS, *SIZES)
