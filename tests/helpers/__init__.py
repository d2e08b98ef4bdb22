"""What several tests use: small and real models, recordings, traces written by hand, ways to run a command."""
