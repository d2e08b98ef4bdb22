"""Which weights of one model are those of another."""
