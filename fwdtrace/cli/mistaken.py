"""Words that are no command line, and yet say what is meant: a spec without `run`, a shape without `--input`."""

from __future__ import annotations

import re
from collections.abc import Container, Sequence

from fwdtrace.models.zoo import BUILT_INS

_SHAPE = re.compile(r"\d+(x\d+)+(:.*)?")
_FILE_AND_NAME = re.compile(r"[^-:]\S*\.py:\w.*")
_SPEC = re.compile(r"[A-Za-z_][\w.]*:[\w./-]+(\(.*\))?|.+\.pt2?")
_BUILT_IN = frozenset(model.name for model in BUILT_INS)
_CODE = re.compile(r"FT\d+", re.IGNORECASE)


def what_to_write(words: Sequence[str], commands: Container[str]) -> str | None:
    """What is wrong with the words and the command that is meant; None if nothing is to be said about them."""
    first, second, third = (*words, "", "", "")[:3]
    if first and first not in commands:
        if _FILE_AND_NAME.fullmatch(first):
            return f"{first!r} is no command; write fwdtrace run {' '.join(words)}"
        if first.endswith(".py"):
            model = f"fwdtrace run {first}:Name for a model in it"
            return f"{first!r} is no command; write fwdtrace exec {' '.join(words)} to run it as a program, or {model}"
        return _of_no_command(first, words)
    if first != "run" or second.startswith("-"):
        return None
    if _SHAPE.fullmatch(third):
        return f"{third!r} is one word too many; write fwdtrace run {second} --input {third}"
    if second and not third.startswith("-") and (_SPEC.fullmatch(third) or third in _BUILT_IN):
        return f"{third!r} is one word too many; write fwdtrace compare {second} {third} to compare the two"
    if second.endswith(".py") and third.isidentifier():
        return f"{third!r} is one word too many; write fwdtrace run {second}:{third}"
    return None


def _of_no_command(first: str, words: Sequence[str]) -> str | None:
    """What is meant by a first word that is no command: a model, a saved trace, a finding or the help."""
    if _CODE.fullmatch(first):
        return f"{first!r} is no command; write fwdtrace rule {first}"
    if first.endswith(".json"):
        return f"{first!r} is no command; write fwdtrace show {' '.join(words)}"
    if first == "help":
        return f"'help' is no command; write fwdtrace {' '.join([*words[1:2], '--help'])}"
    if _SPEC.fullmatch(first) or first.partition("(")[0].lower() in _BUILT_IN:
        return f"{first!r} is no command; write fwdtrace run {' '.join(words)}"
    return None
