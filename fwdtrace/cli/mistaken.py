"""Words that are no command line, and yet say what is meant: a spec without `run`, a shape without `--input`."""

from __future__ import annotations

import re
from collections.abc import Container, Sequence

_SHAPE = re.compile(r"\d+(x\d+)+(:.*)?")
_FILE_AND_NAME = re.compile(r"[^-:]\S*\.py:\w.*")


def what_to_write(words: Sequence[str], commands: Container[str]) -> str | None:
    """What is wrong with the words and the command that is meant; None if nothing is to be said about them."""
    first, second, third = (*words, "", "", "")[:3]
    if first and first not in commands:
        if _FILE_AND_NAME.fullmatch(first):
            return f"{first!r} is no command; write fwdtrace run {' '.join(words)}"
        if first.endswith(".py"):
            model = f"fwdtrace run {first}:Name for a model in it"
            return f"{first!r} is no command; write fwdtrace exec {' '.join(words)} to run it as a program, or {model}"
        return None
    if first != "run" or second.startswith("-"):
        return None
    if _SHAPE.fullmatch(third):
        return f"{third!r} is one word too many; write fwdtrace run {second} --input {third}"
    if second.endswith(".py") and third.isidentifier():
        return f"{third!r} is one word too many; write fwdtrace run {second}:{third}"
    return None
