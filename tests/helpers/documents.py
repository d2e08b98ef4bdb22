"""What README and docs/ show of the tool; `python -m tests.helpers.documents` writes outputs that changed anew."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from tests.helpers.commands import CHILDS_PATH, REPOSITORY

PAGES = (REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md")))
PICTURE = REPOSITORY / "docs" / "tree.svg"
PICTURE_OF = "run lenet-direct"
LEFT_OUT = "…"  # a line of its own, for lines that a document leaves out

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(text: str) -> list[tuple[str, str]]:
    """The language and the text of each fenced block."""
    return _BLOCK.findall(text)


def commands_shown() -> list[str]:
    """Each command that a document shows with what it prints, once."""
    found = [text for page in PAGES for kind, text in blocks(page.read_text(encoding="utf-8")) if kind == "console"]
    return [text for text in dict.fromkeys(found) if text.startswith("$ fwdtrace")]


def arguments_of(shown: str) -> list[str]:
    """The arguments of the command in the first line."""
    line = shown.partition("\n")[0].removeprefix("$ fwdtrace ").removesuffix(" 2>/dev/null")
    return shlex.split(line)


def is_printed(shown: str, printed: str) -> bool:
    """Whether the lines below the command are what it prints, but for durations, versions and lines left out."""
    parts = re.split(rf"^{LEFT_OUT}\n", masked(shown.partition("\n")[2]), flags=re.MULTILINE)
    return re.fullmatch("(?:.*\n)*".join(map(re.escape, parts)), masked(printed)) is not None


def masked(text: str) -> str:
    """The text without durations and the version of torch, which are not the tool's to decide."""
    return re.sub(r"\d[\d.,]* ?(µs|ms|s)\b|torch \d[\w.]*", "(…)", text)


def text_of_picture(file: Path) -> str:
    """The words of an SVG, without durations and versions."""
    return masked("".join(ElementTree.parse(file).getroot().itertext()).replace("\xa0", " "))


def write_anew(page: Path, folder: Path) -> None:
    """Put what the commands print now where the page shows something else."""
    text = page.read_text(encoding="utf-8")
    for kind, shown in blocks(text):
        if kind != "console" or not shown.startswith("$ fwdtrace"):
            continue
        printed = _printed(folder, *arguments_of(shown))
        if is_printed(shown, printed):
            continue
        line, _, rest = shown.partition("\n")
        print(f"{page.name}: {line}")
        if f"\n{LEFT_OUT}\n" in f"\n{rest}":
            print("  leaves lines out: change it by hand")
            continue
        text = text.replace(shown, f"{line}\n{printed}")
    page.write_text(text, encoding="utf-8")


def _printed(folder: Path, *arguments: str) -> str:
    environment = {**os.environ, "COLUMNS": "80", "NO_COLOR": "1", "PYTHONPATH": CHILDS_PATH}
    command = [sys.executable, "-m", "fwdtrace", *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, check=False)
    if not ran.stdout:
        raise SystemExit(ran.stderr)
    return ran.stdout


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        for page in PAGES:
            write_anew(page, Path(name))
        _printed(Path(name), *shlex.split(PICTURE_OF), "-o", "tree.svg")
        drawn = Path(name) / "tree.svg"
        if text_of_picture(drawn) != text_of_picture(PICTURE):
            print(f"{PICTURE.name}: fwdtrace {PICTURE_OF}")
            PICTURE.write_bytes(drawn.read_bytes())
