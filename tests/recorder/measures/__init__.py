"""What a recording measures beside the calls."""
