"""Run a model under observation: a Recording is a `with` block, and its `trace` the finished Trace."""
