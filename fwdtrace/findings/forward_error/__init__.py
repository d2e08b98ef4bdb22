"""FT006: why the call or op that raised could not run, and what to change; a file for each kind of reason."""
