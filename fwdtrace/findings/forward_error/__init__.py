"""FT006: why the call or op that raised could not run, and what to change. A file for each kind of reason."""
