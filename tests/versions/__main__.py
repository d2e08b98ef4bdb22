"""Run the tests on the oldest and newest torch that fwdtrace supports, and on each Python that is there.

Each version gets a virtual environment of its own, made in a folder that `--keep` leaves in place for the next time.
Torch wheels for other versions than the pinned one can be large, and a run of all takes half an hour or more.
"""

from __future__ import annotations

import argparse
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PINNED = "2.13.0"
OLDEST, NEWEST = "2.4.1", "2.14.1"

TORCHVISION = {OLDEST: "0.19.1", PINNED: "0.28.0", NEWEST: "0.29.1"}
"""The torchvision that was built against each torch."""

FREE = {OLDEST: ("numpy", "transformers", "peft", "accelerate", "lightning", "pytorch-lightning", "torchmetrics")}
"""What cannot have its pinned version beside that torch, so that pip chooses one that can."""


@dataclass(frozen=True)
class Version:
    """One Python with one torch."""

    python: str
    torch: str

    @property
    def name(self) -> str:
        """What the version is called in the output, and its folder."""
        return f"python{self.python}-torch{self.torch}"


VERSIONS = (
    Version("3.11", OLDEST),
    Version("3.11", NEWEST),
    *(Version(python, PINNED) for python in ("3.10", "3.12", "3.13")),
)


def main() -> int:
    """Test each version that was asked for; the exit status is 1 if one of them failed, 2 if none could be tested."""
    parser = argparse.ArgumentParser(prog="python -m tests.versions", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(v.name for v in VERSIONS)}; default all"
    )
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="make the environments there, and leave them")
    parser.add_argument("--pytest", default="-n auto", metavar="ARGUMENTS", help="what pytest is given (%(default)r)")
    options = parser.parse_args()
    if unknown := set(options.names) - {version.name for version in VERSIONS}:
        parser.error(f"there is no version {', '.join(sorted(unknown))}")
    folder = options.keep or Path(tempfile.mkdtemp(prefix="fwdtrace-versions"))
    results: dict[str, str] = {}
    try:
        for version in VERSIONS:
            if options.names and version.name not in options.names:
                continue
            print(f"\n== {version.name}", flush=True)
            results[version.name] = tested(version, folder, options.pytest.split())
    finally:
        if options.keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    print("\n" + "\n".join(f"{name}: {result}" for name, result in results.items()))
    if all(result.startswith("not tested") for result in results.values()):
        return 2
    return int(any(result == "failed" for result in results.values()))


def tested(version: Version, folder: Path, arguments: list[str]) -> str:
    """Make the environment of a version if it is not there, run the tests in it, and say how that ended."""
    interpreter = interpreter_of(version.python)
    if interpreter is None:
        return f"not tested: there is no Python {version.python} here"
    environment = folder / version.name
    python = environment / "bin" / "python"
    if not (environment / "complete").exists():
        shutil.rmtree(environment, ignore_errors=True)
        subprocess.run([interpreter, "-m", "venv", environment], check=True)
        constraints = environment / "constraints.txt"
        constraints.write_text("\n".join(constraints_of(version)) + "\n", encoding="utf-8")
        installed = subprocess.run(
            [
                python,
                "-m",
                "pip",
                "install",
                "--quiet",
                "--constraint",
                constraints,
                "--editable",
                f"{REPOSITORY}[test]",
            ]
        )
        if installed.returncode:
            return "not tested: its packages cannot be installed; pip says why above"
        (environment / "complete").touch()
    ran = subprocess.run([python, "-m", "pytest", *arguments], cwd=REPOSITORY)
    return "passed" if ran.returncode == 0 else "failed"


def constraints_of(version: Version) -> Iterable[str]:
    """The pinned versions of all packages, with another torch and what belongs to it."""
    own = {"torch": version.torch, "torchvision": TORCHVISION[version.torch]}
    free = FREE.get(version.torch, ())
    for line in (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").splitlines():
        name = re.split(r"[=; ]", line)[0].lower().replace("_", "-")
        if name not in own and name not in free:
            yield line
    yield from (f"{name}=={number}" for name, number in own.items())


def interpreter_of(python: str) -> str | None:
    """An interpreter of this version, on the path or below pyenv's folder; None if there is none that starts."""
    pyenv = os.environ.get("PYENV_ROOT") or os.path.expanduser("~/.pyenv")
    candidates = [shutil.which(f"python{python}"), *sorted(glob.glob(f"{pyenv}/versions/{python}.*/bin/python"))]
    for candidate in filter(None, candidates):
        asked = subprocess.run(
            [candidate, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], capture_output=True
        )
        if asked.stdout.decode().strip() == python:
            return candidate
    return None


if __name__ == "__main__":
    sys.exit(main())
