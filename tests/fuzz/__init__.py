"""Broken and hostile files by the thousand: each is refused in one line, or shown and compared as any other."""
