"""What a recording sees, and what it leaves alone."""
