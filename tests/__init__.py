"""The tests: one file a module, and the independent judges of the recorder."""
