"""`fwdtrace compare` from the command line: output, exit status, files, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.helpers.commands import Command

NET = """\
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.layer.register_forward_hook(note)

    def forward(self, seed, at):
        print("running")
        return self.layer(seed) + at

def note(module, args, output):
    pass

def broken():
    return nn.Linear(3, 3)

net = Net()
"""


@pytest.fixture
def net(folder: Path) -> str:
    (folder / "net.py").write_text(NET, encoding="utf-8")
    return "net.py:Net"


def test_a_difference_is_exit_status_1(command: Command) -> None:
    ran = command("compare", "spectral-norm", "--direct-forward")
    assert ran.status == 1
    assert "\nmodel.forward(x) does not compute what model(x) computes, as it skips\nspectral_norm: " in ran.out
    assert ran.err.endswith(" differences found\n")


def test_json_is_the_only_thing_on_stdout(command: Command, net: str) -> None:
    ran = command("compare", net, "--direct-forward", "--at", "layer", "--json", *("-i", "seed=2x4", "-i", "at=2x4"))
    document = json.loads(ran.out)
    assert ran.status == 1 and "running" in ran.err
    assert document["model"]["spec"] == net and document["seed"] == 0
    assert [each["message"] for each in document["differences"]] == [
        "note (forward hook on layer) runs once under layer(x), never under layer.forward(x)"
    ]
    assert document["inventory"][0]["file"].endswith("net.py") and document["inventory"][0]["line"] == 14


def test_files_are_written_by_their_suffix(command: Command, folder: Path) -> None:
    ran = command("compare", "--direct-forward", "-o", "c.json", "-o", "c.txt")
    assert (folder / "c.txt").read_text(encoding="utf-8") == ran.out
    assert json.loads((folder / "c.json").read_text())["equal"] is True


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["lenet"], "compare lenet: say what with: a second SPEC, --train, --dtype,"),
        (["--direct-forward", "--at", "f5", "--each"], "--at and --each: give the one or the other"),
        (["--direct-forward", "--at", "f9"], "the model has no module 'f9'; it has c1, s2, c3, flatten, f5, f6"),
        (["lenett", "--direct-forward"], "no built-in model is named 'lenett', the nearest is 'lenet'"),
        (["lenet", "--direct-forward", "-i", "1xx"], "--input 1xx: '1xx' is no shape"),
        (["lenet", "--direct-forward", "-o", "c.html"], "-o c.html: the suffix picks the format"),
    ],
)
def test_what_cannot_be_done_is_refused_in_a_line(command: Command, arguments: list[str], error: str) -> None:
    ran = command("compare", *arguments)
    assert (ran.status, ran.out) == (2, "")
    assert ran.err.startswith(f"fwdtrace: {error}") and ran.err.count("\n") == 1


def test_a_model_that_raises_shows_its_own_traceback(command: Command, net: str) -> None:
    ran = command("compare", "net.py:broken", "--direct-forward", "-i", "2x4")
    assert (ran.status, ran.out) == (2, "")
    assert "RuntimeError: mat1 and mat2 shapes cannot be multiplied" in ran.err
    assert ran.err.endswith("fwdtrace: the model raised when it was called, so there is nothing to compare\n")


def test_a_module_in_a_file_is_copied(command: Command, net: str) -> None:
    ran = command("compare", "net.py:net", "--direct-forward", "-i", "seed=2x4", "-i", "at=2x4")
    assert ran.status == 0 and "every run on a deep copy" in ran.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("lenet",), "say what with"),
        (("lenet", "--train", "--direct-forward"), "--direct-forward compares one SPEC with itself"),
        (("lenet", "lenet", "--each"), "--at and --each go with --direct-forward"),
        (("lenet", "--dtype", "float5"), "--dtype float5: there are bfloat16"),
        (("a.json", "lenet"), "a saved trace is compared with another"),
        (("a.json", "b.json", "--train"), "only models can be run in another way"),
        (("lenet", "lenet", "--map", "x"), "--map x: write OLD=NEW"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    command: Command, arguments: tuple[str, ...], message: str
) -> None:
    ran = command("compare", *arguments)
    assert ran.status == 2 and message in ran.err and not ran.out
