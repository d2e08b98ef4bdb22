"""A program below `fwdtrace exec` is judged against the same program below `python`, byte for byte."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = str(Path(__file__).parents[2])


def ended(arguments: list[str], folder: Path, standard_input: str = "") -> tuple[int, str, str]:
    """The status, stdout and stderr of Python with these arguments; what fwdtrace itself says is left out."""
    ran = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder, input=standard_input, capture_output=True, text=True, timeout=120,
        env={**os.environ, "PYTHONPATH": PACKAGE},
    )  # fmt: skip
    told = [line for line in ran.stderr.splitlines() if not line.startswith("fwdtrace: ")]
    return ran.returncode, ran.stdout, "\n".join(told)


@pytest.mark.parametrize(
    "source",
    [
        "import sys; print(sys.argv, sys.path[0], sys.stdin.read(), __name__, __file__, __spec__, __package__)",
        "import helper, __main__; print(helper.ANSWER, sorted(vars(__main__)))",
        "import pickle\nclass Here: pass\nprint(pickle.loads(pickle.dumps(Here())).__class__)",
        "import sys; sys.exit(7)",
        "import sys; sys.exit('in words')",
        "def f():\n    raise ValueError\ntry:\n    f()\nexcept ValueError as e:\n    raise KeyError('k') from e",
        "raise BrokenPipeError(32, 'as if')",
        "raise KeyboardInterrupt",
        "this is no Python",
        "import atexit, threading\natexit.register(print, 'at exit')\nthreading.Timer(0.1, print, ['late']).start()",
        "import sys; sys.excepthook = lambda *told: print('hooked', told[0].__name__); 1 / 0",
        "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
    ],
)
def test_a_script_ends_as_below_python(source: str, tmp_path: Path) -> None:
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "helper.py").write_text("ANSWER = 42\n", encoding="utf-8")
    (tmp_path / "part" / "script.py").write_text(source + "\n", encoding="utf-8")
    call = ["part/script.py", "--lr", "1e-3", "--", "-o", "x"]
    bare = ended(call, tmp_path, "given")
    assert ended(["-m", "fwdtrace", "exec", *call], tmp_path, "given") == bare


def test_a_module_ends_as_below_python(tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(
        "import sys\nfrom package import __name__ as n\nprint(sys.argv, sys.path[0], n, __package__)\nraise OSError\n",
        encoding="utf-8",
    )
    call = ["-m", "package", "--lr", "1"]
    assert ended(["-m", "fwdtrace", "exec", *call], tmp_path) == ended(call, tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_program_as_below_python(number: signal.Signals, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text("print('ready', flush=True)\nwhile True: pass\n", encoding="utf-8")
    statuses = []
    for before in ([], ["-m", "fwdtrace", "exec"]):
        with subprocess.Popen(
            [sys.executable, *before, "script.py"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": PACKAGE},
        ) as program:  # fmt: skip
            assert program.stdout is not None
            program.stdout.readline()
            program.send_signal(number)
            statuses.append(program.wait(timeout=60))
    assert statuses == [-number, -number]
