"""What a command does with a spec: it builds the model, runs and records it, and gives a Trace or a Comparison."""
