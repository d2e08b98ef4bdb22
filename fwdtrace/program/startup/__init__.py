"""What runs inside the process of a program that `fwdtrace exec` has started, before the program does."""
