"""The trace as a value, as JSON and as text."""
