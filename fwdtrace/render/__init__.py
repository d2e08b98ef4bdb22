"""Trace -> text: one file a form, each a function or two, none of which needs torch."""
