"""Where two runs part, with all their steps."""
