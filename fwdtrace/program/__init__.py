"""Somebody's program under watch: it runs as under `python`, and the calls of its models are recorded."""
