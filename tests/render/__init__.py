"""Every form in which a trace or a comparison is shown."""
