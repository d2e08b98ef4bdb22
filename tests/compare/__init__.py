"""What differs between two traces or two runs."""
