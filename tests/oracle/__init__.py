"""A second, independent account of a forward call, and the recorder held against it."""
