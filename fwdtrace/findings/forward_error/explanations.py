"""All that torch may say of a failure, and who explains it."""

from __future__ import annotations

from fwdtrace.findings.forward_error.arguments import ARGUMENTS
from fwdtrace.findings.forward_error.layers import LAYERS
from fwdtrace.findings.forward_error.products import PRODUCTS
from fwdtrace.findings.forward_error.sequences import SEQUENCES
from fwdtrace.findings.forward_error.sizes import SIZES

# In this order: a tensor of the wrong kind first, since what torch says of it can also read like a wrong shape.
KINDS = (*ARGUMENTS, *LAYERS, *SEQUENCES, *PRODUCTS, *SIZES)
