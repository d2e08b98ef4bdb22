"""Tests of what commands do with a spec."""
