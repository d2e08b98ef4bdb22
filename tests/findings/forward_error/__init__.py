"""What is said of a call or op that raised."""
