"""Run the tests on the oldest and newest torch that fwdtrace supports, and on each Python that is there.

Each version gets a virtual environment of its own, of about 6 GB, in a folder that `--keep` leaves in place for the
next time. The last lines say of each version how many tests passed, failed and were skipped, or why none was run.
"""

from __future__ import annotations

import argparse
import glob
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

REPOSITORY = Path(__file__).parents[2]
PINNED = "2.13.0"
OLDEST, NEWEST = "2.6.0", "2.14.1"

OWN: Mapping[str, Mapping[str, str]] = {
    OLDEST: {"torchvision": "0.21.0", "sympy": "1.13.1"},
    PINNED: {},
    NEWEST: {"torchvision": "0.29.1"},
}
"""What has another version beside that torch than `constraints.txt` says: it was built for it, or is pinned by it."""

Outcome = tuple[bool, str]
"""Whether all is well with a version, and what there is to say about it."""


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
    """Test each version that was asked for.

    The exit status is 0 if every version passed whose Python is there, 1 if one failed or could not be installed, 2 if
    no Python is there, and 130 after Ctrl-C.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.versions", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(v.name for v in VERSIONS)}; default all"
    )
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="make the environments there, and leave them")
    parser.add_argument("--pytest", default="-q -n auto", metavar="ARGUMENTS", help="for pytest; default '%(default)s'")
    options = parser.parse_args()
    if unknown := set(options.names) - {version.name for version in VERSIONS}:
        parser.error(f"there is no version {', '.join(sorted(unknown))}")
    versions = [version for version in VERSIONS if not options.names or version.name in options.names]
    interpreters = {version: interpreter_of(version.python) for version in versions}
    outcomes: dict[Version, Outcome] = {}
    interrupted = False
    try:
        with environments(options.keep) as folder:
            for version, interpreter in interpreters.items():
                if interpreter is None:
                    continue
                print(f"\n== {version.name}", flush=True)
                environment = folder / version.name
                if installed(version, interpreter, environment):
                    outcomes[version] = tested(environment, shlex.split(options.pytest))
                else:
                    outcomes[version] = False, "not tested: its packages cannot be installed; pip says why above"
    except KeyboardInterrupt:
        interrupted = True
    print()
    for version, interpreter in interpreters.items():
        missing = f"not tested: there is no Python {version.python} here"
        _, said = outcomes.get(version, (False, "interrupted" if interpreter else missing))
        print(f"{version.name}: {said}")
    if interrupted:
        return 130
    return 2 if not outcomes else int(not all(good for good, _ in outcomes.values()))


@contextmanager
def environments(keep: Path | None) -> Iterator[Path]:
    """The folder in which the environments are made: the one to keep, or one that is removed at the end."""
    if keep is not None:
        yield keep.absolute()
        return
    with tempfile.TemporaryDirectory(prefix="fwdtrace-versions") as folder:
        yield Path(folder)


def installed(version: Version, interpreter: str, environment: Path) -> bool:
    """Make the environment, unless it is there with the same constraints; whether pip could install everything.

    What an interrupted pip leaves behind is made anew, as nobody knows what is in it.
    """
    constraints = "\n".join(constraints_of(version)) + "\n"
    complete = environment / "complete.txt"
    if complete.exists() and complete.read_text(encoding="utf-8") == constraints:
        return True
    subprocess.run([interpreter, "-m", "venv", "--clear", environment], check=True)
    (environment / "constraints.txt").write_text(constraints, encoding="utf-8")
    pip = [environment / "bin" / "python", "-m", "pip", "install", "--quiet", "--only-binary", ":all:"]
    ran = subprocess.run([*pip, "-c", environment / "constraints.txt", "--editable", f"{REPOSITORY}[test]"])
    if ran.returncode == 0:
        complete.write_text(constraints, encoding="utf-8")
    return ran.returncode == 0


def tested(environment: Path, arguments: list[str]) -> Outcome:
    """Run the tests of this checkout in the environment, and count how they ended."""
    results = environment / "results.xml"
    results.unlink(missing_ok=True)
    ran = subprocess.run(
        [environment / "bin" / "python", "-m", "pytest", f"--junitxml={results}", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},  # the environment may be from another checkout
    )
    counts = counts_in(results) if results.exists() else f"pytest ended with status {ran.returncode}"
    return ran.returncode == 0, f"{'passed' if ran.returncode == 0 else 'FAILED'}: {counts}"


def counts_in(results: Path) -> str:
    """How many tests passed, failed and were skipped, from the XML that pytest writes."""
    suite = ElementTree.parse(results).getroot().find("testsuite")
    assert suite is not None
    total, failures, errors, skipped = (int(suite.get(key, 0)) for key in ("tests", "failures", "errors", "skipped"))
    passed = total - failures - errors - skipped
    return f"{passed} passed, {failures + errors} failed, {skipped} skipped in {float(suite.get('time', 0)):.0f} s"


def constraints_of(version: Version) -> Iterable[str]:
    """The pinned versions of all packages, with another torch and what belongs to it."""
    own = {"torch": version.torch, **OWN[version.torch]}
    for line in (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").splitlines():
        name = re.split(r"[=; ]", line)[0].lower().replace("_", "-")
        if name not in own:
            yield line
    yield from (f"{name}=={number}" for name, number in own.items())


def interpreter_of(python: str) -> str | None:
    """An interpreter of this version, on the path or below pyenv's folder; None if there is none that starts."""
    pyenv = os.environ.get("PYENV_ROOT") or os.path.expanduser("~/.pyenv")
    candidates = [shutil.which(f"python{python}"), *sorted(glob.glob(f"{pyenv}/versions/{python}.*/bin/python"))]
    for candidate in filter(None, candidates):
        asked = subprocess.run(
            [candidate, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], capture_output=True, text=True
        )
        if asked.stdout.strip() == python:
            return candidate
    return None


if __name__ == "__main__":
    sys.exit(main())
