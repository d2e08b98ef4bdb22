"""Programs under `fwdtrace exec`."""
