"""The version of fwdtrace."""

__version__ = "0.1.0"
