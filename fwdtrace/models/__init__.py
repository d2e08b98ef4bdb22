"""From what a command is told to what it runs: a SPEC to a module, `--input` to the arguments of its call."""
