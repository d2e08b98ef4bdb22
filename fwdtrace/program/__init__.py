"""A program run as `python` would run it, and its traces: joined, named, and set side by side for its ranks."""
