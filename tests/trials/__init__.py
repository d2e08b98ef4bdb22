"""What may help against a failure is tried on a copy of the model: only what runs to its end is advice."""
