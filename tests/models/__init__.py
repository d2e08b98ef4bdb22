"""From a spec to a module, and from `--input` to its arguments."""
