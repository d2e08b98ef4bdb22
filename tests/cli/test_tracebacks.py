"""A model that raises shows its own traceback, in which no line is of fwdtrace."""

from __future__ import annotations

from pathlib import Path

from tests.helpers.commands import REPOSITORY, Command

TROUBLED = """
import time

from torch import nn


class Raises(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Identity()

    def forward(self, x):
        self.first(x)
        try:
            {}["key"]
        except KeyError:
            raise ValueError("not this one")


class NotBuilt(nn.Module):
    def __init__(self):
        super().__init__()
        raise ValueError("not even built")
"""


def test_a_model_that_raises_shows_the_tree_and_then_its_own_traceback(command: Command, folder: Path) -> None:
    (folder / "troubled.py").write_text(TROUBLED)
    ran = command("run", "troubled.py:Raises", "--input", "1x3x32x32")
    assert ran.status == 2
    assert "first" in ran.out
    assert "ValueError: not this one" in ran.err
    assert "KeyError: 'key'" in ran.err
    assert "During handling of the above exception" in ran.err
    assert "troubled.py" in ran.err
    assert str(REPOSITORY / "fwdtrace") not in ran.err
    assert "typer" not in ran.err
    assert ran.err.endswith(
        "fwdtrace: 'troubled.py:Raises' raised while it ran; the traceback above is its own\n"
        "troubled.py:17: the model (Raises) raised ValueError: not this one; given x 1×3×32×32\n"
    )


def test_a_traceback_has_the_frames_of_torch_only_on_request_and_the_cause_once_more(command: Command) -> None:
    short, full = command("run", "lenet-broken"), command("run", "lenet-broken", "--full-traceback")
    assert [line.count("/torch/") for line in (short.err, full.err)] == [0, 5]
    for ran in (short, full):
        assert ran.err.count("lenet.py") == 2, "a frame, and the cause"
        assert "RuntimeError: mat1 and mat2 shapes cannot be multiplied" in ran.err
        assert ran.err.splitlines()[-1].startswith("lenet.py:28: f5 (Linear) expects 256 features, got 400 = 16×5×5")


def test_a_traceback_of_torch_alone_keeps_its_frames(command: Command, folder: Path) -> None:
    ran = command("run", "torch.nn:Linear(in_features=4, out_features=2)", "--input", "3x5")
    assert ran.status == 2 and "/torch/nn/modules/linear.py" in ran.err


def test_a_constructor_that_raises_shows_its_own_traceback_only(command: Command, folder: Path) -> None:
    (folder / "troubled.py").write_text(TROUBLED)
    ran = command("run", "troubled.py:NotBuilt")
    frames = [line for line in ran.err.splitlines() if line.startswith("  File ")]
    assert (ran.status, ran.out, len(frames)) == (2, "", 1)
    assert frames[0].endswith("line 23, in __init__")
    assert ran.err.endswith(
        "ValueError: not even built\nfwdtrace: building 'troubled.py:NotBuilt' raised; the traceback above is its own\n"
    )


def test_an_import_that_fails_shows_its_own_traceback_only(command: Command, folder: Path) -> None:
    (folder / "importing.py").write_text("import absent_library\n")
    ran = command("run", "importing.py:Net")
    assert (ran.status, ran.out) == (2, "")
    assert [line.strip() for line in ran.err.splitlines()] == [
        "Traceback (most recent call last):",
        f'File "{folder}/importing.py", line 1, in <module>',
        "import absent_library",
        "ModuleNotFoundError: No module named 'absent_library'",
        "fwdtrace: 'importing' was found, but importing it raised; the traceback above is its own",
    ]
