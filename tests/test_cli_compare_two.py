"""`fwdtrace compare A B` as a user types it: what it prints, its JSON, its exit status, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

import fwdtrace
from tests.commands import Command, finish, start

SCHEMA = json.loads((Path(fwdtrace.__file__).parent / "schema" / "comparison-1.json").read_text(encoding="utf-8"))

NETS = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, bias=0.0):
        super().__init__()
        self.inp = nn.Linear(4, 4)
        self.drop = nn.Dropout(0.5)
        self.out = nn.Linear(4, 2)
        nn.init.eye_(self.inp.weight)
        nn.init.ones_(self.out.weight)
        nn.init.constant_(self.inp.bias, bias)
        nn.init.zeros_(self.out.bias)

    def forward(self, x):
        return self.out(self.drop(self.inp(x)))


class Mixes(nn.Module):
    def __init__(self):
        super().__init__()
        self.inp = nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4)

    def forward(self, x):
        return self.norm(self.inp(x))


class Other(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.last = nn.Linear(4, 2)

    def forward(self, x):
        return self.last(self.first(x))
"""

SHOWN = """\
The second run leaves the first at inp (Linear): its inputs agree, its output
does not: bias differs by up to 4.

first   Net · nets.py:Net · 30 parameters
second  Net · nets.py:Net(bias=4) · 30 parameters

  from there on                               difference    relative         ulp
  inp                                                  4           4  33,554,432
  drop                                                 4           4  33,554,432
  out                                                 16           4  33,554,432
  the model                                           16           4  33,554,432

wrong numbers
  ✗ the model gives other numbers, up to 16 apart, 4 of the largest element,
    33,554,432 ulp
    … and 3 more of output, which --json lists

Note: tolerance: float32 1.3e-06 of the largest element or 1e-05; what is within
it is called rounding.
"""


@pytest.fixture
def nets(folder: Path) -> Path:
    import torch

    (folder / "nets.py").write_text(NETS, encoding="utf-8")
    torch.save(torch.ones(1, 4), folder / "x.pt")
    return folder


def test_the_origin_comes_first_then_how_the_difference_grows(command: Command, nets: Path) -> None:
    found = command("compare", "nets.py:Net", "nets.py:Net(bias=4)", "-i", "x.pt")
    assert found.out == SHOWN
    assert found.status == 1 and found.err == "fwdtrace: 4 differences found\n"


def test_a_model_is_its_own_equal(command: Command, nets: Path) -> None:
    found = command("compare", "nets.py:Net", "nets.py:Net", "-i", "2x4")
    assert found.status == 0
    assert found.out.startswith("No difference found: 4 calls on both sides, and all outputs are bit-identical.\n")


def test_dropout_in_training_mode_is_its_own_equal(command: Command, nets: Path) -> None:
    assert command("compare", "nets.py:Net", "nets.py:Net", "-i", "2x4", "--train").status == 0


def test_one_model_in_training_mode_leaves_eval_mode_at_its_dropout(command: Command, nets: Path) -> None:
    found = command("compare", "nets.py:Net", "-i", "2x4", "--train", "--json")
    document = json.loads(found.out)
    assert document["origin"]["path"] == "drop"
    assert "mode (eval) became (train)" in document["origin"]["why"]


def test_another_dtype_is_compared_within_its_tolerance(command: Command, nets: Path) -> None:
    found = command("compare", "nets.py:Net", "-i", "x.pt", "--dtype", "bfloat16")
    assert found.status == 0, found.out
    assert "bfloat16 0.016 of the largest element or 1e-05" in found.out


def test_examples_come_out_the_same_in_a_larger_batch_unless_the_model_mixes_them(command: Command, nets: Path) -> None:
    assert command("compare", "nets.py:Mixes", "-i", "2x4", "--batch", "3").status == 0
    found = command("compare", "nets.py:Mixes", "nets.py:Mixes", "-i", "2x4", "--batch", "3", "--train", "--json")
    assert json.loads(found.out)["origin"]["path"] == "norm"


def test_a_compiled_model_is_compared_by_what_comes_out(nets: Path) -> None:
    found = finish(start("compare", "nets.py:Net", "-i", "x.pt", "--compile"))
    assert found.status == 0, found.out + found.err
    assert "of compiled code only what goes in and comes out is seen" in found.out.replace("\n", " ")


def test_another_device_is_one_that_can_be_used_and_holds_numbers(command: Command, nets: Path) -> None:
    assert command("compare", "nets.py:Net", "-i", "x.pt", "--device", "cpu").status == 0
    assert "there are no numbers on meta" in command("compare", "nets.py:Net", "-i", "x.pt", "--device", "meta").err
    assert "--device nowhere: cannot be used here" in command("compare", "nets.py:Net", "--device", "nowhere").err


def test_weights_from_a_file_are_those_of_both(command: Command, nets: Path) -> None:
    import torch

    state = {"inp.weight": torch.randn(4, 4), "inp.bias": torch.randn(4)}
    torch.save(state | {"out.weight": torch.randn(2, 4), "out.bias": torch.randn(2)}, nets / "w.pt")
    found = command("compare", "nets.py:Net", "nets.py:Net(bias=4)", "-i", "2x4", "--weights", "w.pt")
    assert found.status == 0, found.out
    assert "4 of 4 weights of the second are copies of the first's" in found.out.replace("\n", " ")


def test_the_json_follows_its_schema(command: Command, nets: Path) -> None:
    document = json.loads(command("compare", "nets.py:Net", "nets.py:Net(bias=4)", "-i", "x.pt", "--json").out)
    jsonschema.validate(document, SCHEMA)
    assert document["kind"] == "traces" and document["equal"] is False
    assert document["origin"] == {
        **{"path": "inp", "nth": 1, "class": "Linear", "why": ["bias differs by up to 4"]},
        "apart": {"absolute": 4.0, "relative": 4.0, "ulp": 33554432, "same": False, "close": False},
    }
    assert [row["path"] for row in document["growth"]] == ["inp", "drop", "out", ""]


def test_a_port_with_other_names_gets_the_weights_of_the_first(command: Command, nets: Path) -> None:
    maps = ("--map", "inp=first", "--map", "out=last")
    assert command("compare", "nets.py:Net", "nets.py:Other", "-i", "2x4", *maps).status == 1
    found = command("compare", "nets.py:Net", "nets.py:Other", "-i", "2x4", *maps, "--same-init")
    assert found.status == 0
    assert "4 of 4 weights of the second are copies of the first's" in found.out


def test_saved_traces_are_compared_and_torch_is_not_imported(command: Command, nets: Path) -> None:
    for spec, file in (("nets.py:Net", "a.json"), ("nets.py:Net", "b.json"), ("nets.py:Net(bias=4)", "c.json")):
        command("run", spec, "-i", "x.pt", "--stats", "-o", file)
    assert command("compare", "a.json", "b.json").status == 0
    found = command("compare", "a.json", "c.json", "--json")
    assert found.status == 1 and json.loads(found.out)["origin"]["path"] == "inp"
    (nets / "torch.py").write_text("raise ImportError('torch was imported')", encoding="utf-8")
    ended = finish(start("compare", "a.json", "c.json", PYTHONPATH=f"{nets}:{Path(fwdtrace.__file__).parents[1]}"))
    assert ended.status == 1 and ended.out.startswith("The second run leaves the first at inp (Linear)")


@pytest.mark.parametrize("max_bytes", ["1000000", "0"])
def test_saved_values_tell_the_origin_without_torch(command: Command, nets: Path, max_bytes: str) -> None:
    for spec, name in (("nets.py:Net", "a"), ("nets.py:Net", "b"), ("nets.py:Net(bias=4)", "c")):
        kept = ("--save-values", f"{name}.safetensors", "--max-bytes", max_bytes)
        assert command("run", spec, "-i", "x.pt", *kept, "-o", f"{name}.json").status == 0
    assert "bit-identical" in command("compare", "a.json", "b.json").out
    (nets / "torch.py").write_text("raise ImportError('torch was imported')", encoding="utf-8")
    path = f"{nets}:{Path(fwdtrace.__file__).parents[1]}"
    found = json.loads(finish(start("compare", "a.json", "c.json", "--json", PYTHONPATH=path)).out)
    assert found["origin"]["path"] == "inp"
    ulp = 33554432 if max_bytes != "0" else None
    assert found["origin"]["apart"] == {"absolute": 4.0, "relative": 4.0, "ulp": ulp, "same": False, "close": False}


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_saved_values_are_read_as_they_were(folder: Path, dtype: str) -> None:
    import torch

    from fwdtrace.recorder.kept import Kept
    from fwdtrace.values_file import SavedValues, save_values

    tensor = torch.randn(7).to(getattr(torch, dtype))
    kept = Kept((7,), tensor.dtype, tensor, b"x", None)
    save_values({3: ((kept,), (kept, None))}, folder / "v.safetensors")
    saved = SavedValues(folder / "v.safetensors")
    assert saved.array(0).tolist() == tensor.double().tolist()
    assert saved.about(0) == {"shape": [7], "dtype": dtype, "digest": "78", "stats": None}


def test_values_that_are_gone_or_of_something_else_are_told_of(command: Command, nets: Path) -> None:
    for name in ("a", "b"):
        command("run", "nets.py:Net", "-i", "x.pt", "--save-values", f"{name}.safetensors", "-o", f"{name}.json")
    (nets / "a.safetensors").unlink()
    assert "its values are to be in a.safetensors, which is not there" in command("compare", "a.json", "b.json").err
    (nets / "a.safetensors").write_bytes(b"something else")
    assert "was not written by `fwdtrace run --save-values`" in command("compare", "a.json", "b.json").err
    assert "use .safetensors" in command("run", "nets.py:Net", "--save-values", "a.bin").err
    assert "on meta has no values" in command("run", "lenet", "--device", "meta", "--save-values", "a.safetensors").err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nets.py:Net",), "say what with"),
        (("nets.py:Net", "--train", "--direct-forward"), "--direct-forward compares one SPEC with itself"),
        (("nets.py:Net", "nets.py:Net", "--each"), "--at and --each go with --direct-forward"),
        (("nets.py:Net", "--dtype", "float5"), "--dtype float5: there are bfloat16"),
        (("a.json", "nets.py:Net"), "a saved trace is compared with another"),
        (("a.json", "b.json", "--train"), "only models can be run in another way"),
        (("nets.py:Net", "nets.py:Net", "--map", "x"), "--map x: write OLD=NEW"),
        (("nets.py:Net", "nets.py:Net", "-i", "1x5"), "raised while it ran"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    command: Command, nets: Path, arguments: tuple[str, ...], message: str
) -> None:
    found = command("compare", *arguments)
    assert found.status == 2 and message in found.err and not found.out
