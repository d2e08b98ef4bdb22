"""What observing costs: `python -m tests.benchmarks`. Figures to read, no tests that pass or fail."""
