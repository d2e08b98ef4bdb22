"""From what the user types to what runs: a SPEC becomes a module, `--input` the arguments of its call."""
