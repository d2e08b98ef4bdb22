"""The saved calls of two programs."""
