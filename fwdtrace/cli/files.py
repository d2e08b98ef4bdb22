"""The files that options name, looked at before anything is run: a result that cannot be saved is lost."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from fwdtrace.errors import FwdtraceError

TRACE_SUFFIXES = (".json", ".txt", ".svg", ".html", ".md", ".mmd", ".dot", ".csv", ".trace.json")


def check_files(files: list[Path], suffixes: tuple[str, ...] = TRACE_SUFFIXES, option: str = "-o") -> None:
    """Refuse, before anything is run, a file that could not be written then."""
    for file in files:
        if not file.name.endswith(suffixes):
            known = f"one of {' '.join(suffixes)}" if len(suffixes) > 1 else suffixes[0]
            raise FwdtraceError(f"{option} {file}: the suffix picks the format; use {known}")
        if not file.parent.is_dir():
            raise FwdtraceError(f"{option} {file}: there is no folder {str(file.parent)!r}; make it first")
        if file.is_dir():
            raise FwdtraceError(f"{option} {file}: is a folder; name a file")


def check_values_file(file: Path | None) -> None:
    """Refuse, before anything is run, a file that the numbers could not be saved in then."""
    if file is None:
        return
    check_files([file], (".safetensors",), option="--save-values")
    if find_spec("safetensors") is None:
        raise FwdtraceError(f"--save-values {file}: needs safetensors; run `pip install safetensors`")
