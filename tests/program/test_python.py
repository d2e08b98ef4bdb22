"""A program below `fwdtrace exec` is judged against the same program below `python`, byte for byte."""

from __future__ import annotations

import os
import py_compile
import re
import signal
import subprocess
import sys
import zipapp
from pathlib import Path

import pytest

from tests.helpers.commands import HANG, ending

PACKAGE = str(Path(__file__).parents[2])


def ended(arguments: list[str], folder: Path, standard_input: str = "") -> tuple[int, str, str]:
    """The status, stdout and stderr of Python with these arguments; what fwdtrace itself says is left out."""
    ran = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder, input=standard_input, capture_output=True, text=True, timeout=HANG,
        env={**os.environ, "PYTHONPATH": PACKAGE},
    )  # fmt: skip
    ran.stderr = re.sub("0x[0-9a-f]{6,}", "ADDRESS", ran.stderr)
    told = [line for line in ran.stderr.splitlines() if not line.startswith("fwdtrace: ")]
    return ran.returncode, ran.stdout, "\n".join(told)


# What a program can see of where it runs.
SEES = """\
import __main__, os, signal, sys, threading, traceback, warnings
print(__builtins__.len([1]), __builtins__.__name__, sys.flags, sys.warnoptions, warnings.filters)
print(sorted(os.environ.items()), sys.path, sys.orig_argv, sys._getframe().f_back)
print(*(thread.name for thread in threading.enumerate()), {"torch", "typer", "logging"} & set(sys.modules))
print(*(signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)))
traceback.print_stack()
warnings.warn("of whoever calls a module", stacklevel=2)
"""


@pytest.mark.parametrize(
    "source",
    [
        SEES,
        "import sys; print(sys.argv, sys.path[0], sys.stdin.read(), __name__, __file__, __spec__, __package__)",
        "import helper, __main__; print(helper.ANSWER, sorted(vars(__main__)))",
        "import pickle\nclass Here: pass\nprint(pickle.loads(pickle.dumps(Here())).__class__)",
        "import sys; sys.exit(7)",
        pytest.param("import sys; sys.exit('in words')", marks=pytest.mark.sweep),
        "def f():\n    raise ValueError\ntry:\n    f()\nexcept ValueError as e:\n    raise KeyError('k') from e",
        pytest.param("raise BrokenPipeError(32, 'as if')", marks=pytest.mark.sweep),
        "raise KeyboardInterrupt",
        "this is no Python",
        "import atexit, threading\natexit.register(print, 'at exit')\nthreading.Timer(0.1, print, ['late']).start()",
        pytest.param(
            "import sys; sys.excepthook = lambda *told: print('hooked', told[0].__name__); 1 / 0",
            marks=pytest.mark.sweep,
        ),
        "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
        "import sys; sys.excepthook = lambda *told: told[9]; 1 / 0",
        pytest.param("import sys; sys.excepthook = lambda *told: sys.exit(4); 1 / 0", marks=pytest.mark.sweep),
        pytest.param("import sys; sys.exit(2.5)", marks=pytest.mark.sweep),
        pytest.param("import sys; sys.exit(-1)", marks=pytest.mark.sweep),
        "import sys; sys.exit((1, 2))",
        pytest.param("print('held back'); import os; os._exit(9)", marks=pytest.mark.sweep),
        "import threading, sys\nthreading.Thread(target=sys.exit, args=(3,)).start()\n1 / 0",
        pytest.param(
            "import atexit, sys\natexit.register(sys.exit, 3)\nimport part_that_exits", marks=pytest.mark.sweep
        ),
        "import sys; sys.stdout.close(); sys.stderr.close(); 1 / 0",
    ],
)
def test_a_script_ends_as_below_python(source: str, tmp_path: Path) -> None:
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "helper.py").write_text("ANSWER = 42\n", encoding="utf-8")
    (tmp_path / "part" / "part_that_exits.py").write_text("import sys; sys.exit('on import')\n", encoding="utf-8")
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


@pytest.mark.parametrize(
    "call",
    [
        ["app", "x"],
        ["app.pyz", "x"],
        ["-", "x"],
        *(
            pytest.param(call, marks=pytest.mark.sweep)
            for call in (["app/__main__.pyc", "x"], ["empty"], ["/dev/stdin", "x"])
        ),
        ["-m", "app", "-o", "x"],
        ["-m", "app.none"],
        ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "app/test_it.py"],
    ],
    ids=" ".join,
)
def test_whatever_python_runs_runs(call: list[str], tmp_path: Path) -> None:
    source = "import sys\nprint(sys.argv, sys.path[0], __name__, __file__ if __spec__ else '', __package__)\n1 / 0\n"
    (tmp_path / "empty").mkdir()
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "__main__.py").write_text(source, encoding="utf-8")
    (tmp_path / "app" / "test_it.py").write_text("def test_it():\n    assert 1 + 1 == 2\n", encoding="utf-8")
    zipapp.create_archive(tmp_path / "app", tmp_path / "app.pyz")
    py_compile.compile(str(tmp_path / "app" / "__main__.py"), str(tmp_path / "app" / "__main__.pyc"))
    bare, traced = ended(call, tmp_path, source), ended(["-m", "fwdtrace", "exec", *call], tmp_path, source)
    assert [re.sub(r"in \d+\.\d+s", "", str(part)) for part in traced] == [
        re.sub(r"in \d+\.\d+s", "", str(part)) for part in bare
    ]


@pytest.mark.parametrize(
    "options",
    [
        ["-W", "error"],
        ["-X", "dev", "-u"],
        ["-Bum"],
        *(pytest.param(options, marks=pytest.mark.sweep) for options in (["-OO"], ["-P"], ["-i"])),
    ],
    ids=" ".join,
)
def test_the_options_of_python_stay(options: list[str], tmp_path: Path) -> None:
    if options == ["-P"] and sys.version_info < (3, 11):
        pytest.skip("there is no -P")
    (tmp_path / "sees.py").write_text(SEES + "1 / 0\n", encoding="utf-8")
    if options == ["-Bum"]:
        assert ended(["-Bum", "fwdtrace", "exec", "sees.py"], tmp_path) == ended(["-Bu", "sees.py"], tmp_path)
        return
    assert ended([*options, "-m", "fwdtrace", "exec", "sees.py"], tmp_path) == ended([*options, "sees.py"], tmp_path)


@pytest.mark.parametrize("option", ["-E", "-S"])
def test_options_that_keep_us_out_of_the_program_are_refused(option: str, tmp_path: Path) -> None:
    (tmp_path / "sees.py").write_text(SEES, encoding="utf-8")
    start = "import site, sys; site.main(); from fwdtrace.cli import main; main(['exec', 'sees.py'])"
    ran = subprocess.run(
        [sys.executable, option, "-c", f"import sys; sys.path.insert(0, {PACKAGE!r}); {start}"],
        cwd=tmp_path, capture_output=True, text=True, timeout=HANG,
    )  # fmt: skip
    assert (ran.returncode, ran.stdout, ran.stderr) == (
        2, "", "fwdtrace: exec cannot get into a program where Python runs with -E, -I or -S; leave these out\n"
    )  # fmt: skip


def test_a_sitecustomize_of_the_users_own_is_imported_too(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "sitecustomize.py").write_text("import builtins; builtins.own = __file__\n", encoding="utf-8")
    (tmp_path / "uses.py").write_text(
        "import sys; print(own, sys.modules['sitecustomize'].__file__)\n", encoding="utf-8"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path / "own"), PACKAGE])}
    outs = [
        subprocess.run(
            [sys.executable, *before, "uses.py"], cwd=tmp_path, capture_output=True, text=True, env=environment
        ).stdout
        for before in ([], ["-m", "fwdtrace", "exec"])
    ]
    assert outs[1] == outs[0] != ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_program_as_below_python(number: signal.Signals, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text("print('ready', flush=True)\nwhile True: pass\n", encoding="utf-8")
    statuses = []
    for before in ([], ["-m", "fwdtrace", "exec"]):
        with ending(subprocess.Popen(
            [sys.executable, *before, "script.py"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": PACKAGE},
        )) as program:  # fmt: skip
            assert program.stdout is not None
            program.stdout.readline()
            program.send_signal(number)
            statuses.append(program.wait(timeout=HANG))
    assert statuses == [-number, -number]
