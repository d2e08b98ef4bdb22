"""What is said of a trace, and when nothing is."""
