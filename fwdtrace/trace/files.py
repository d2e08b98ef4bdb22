"""Write a file whole or not at all: beside its place first, then renamed over it.

Until the rename the old file is there as it was, whatever ends the process. Nothing is flushed to the disk itself, so
this holds for a process that is killed, not for a machine that loses its power.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def replacing(file: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a path to write to; when the block ends, what is there becomes the file. If the block raises, nothing does.

    A symbolic link stays, and what it points to is replaced. The file keeps its mode, and its owner as far as this
    user may set it; a new one has the mode that `open` would give it. What is no regular file (a pipe, a device) and
    what is open as standard output or error cannot be replaced: the path is then that file itself. A process that is
    killed may leave `.NAME.fwdtrace-XXXXXXXX` beside it. OSError if the file cannot be written.
    """
    try:
        old = os.stat(file)
    except FileNotFoundError:
        old = None
    if old is not None and (not stat.S_ISREG(old.st_mode) or _is_standard_stream(old)):
        yield Path(file)
        return
    target = Path(os.path.realpath(file))
    beside = target.with_name(f".{target.name[:40]}.fwdtrace-{secrets.token_hex(4)}")
    try:
        beside.touch(0o666 if old is None else 0o600, exist_ok=False)
        new = beside.stat()
        yield beside
        if old is None:
            beside.chmod(stat.S_IMODE(new.st_mode))  # a library may have put a file of its own there
        else:
            _take_over(old, beside)
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)


def write_text(file: str | os.PathLike[str], text: str) -> None:
    """Write the text in UTF-8, whole or not at all; OSError if the file cannot be written."""
    with replacing(file) as path:
        path.write_text(text, encoding="utf-8")


def _take_over(old: os.stat_result, file: Path) -> None:
    """Give the file the mode and the owner that the old one has."""
    mode = stat.S_IMODE(old.st_mode)
    if hasattr(os, "chown") and (file.stat().st_uid, file.stat().st_gid) != (old.st_uid, old.st_gid):
        try:
            os.chown(file, old.st_uid, old.st_gid)
        except PermissionError:
            with suppress(PermissionError):
                os.chown(file, -1, old.st_gid)
            if file.stat().st_gid != old.st_gid:
                mode &= ~0o070  # what the old group could do is not meant for another one
    file.chmod(mode)


def _is_standard_stream(status: os.stat_result) -> bool:
    for descriptor in (1, 2):
        with suppress(OSError):  # it may be closed
            if os.path.samestat(status, os.fstat(descriptor)):
                return True
    return False
