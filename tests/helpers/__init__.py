"""What several tests use: tiny models, real ones, traces made by hand, ways to run a command."""
