"""Trace -> text: a file for each form that a trace or a comparison is shown in. Free of torch."""
