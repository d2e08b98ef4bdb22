"""The saved runs of many ranks."""
