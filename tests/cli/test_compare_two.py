"""`fwdtrace compare A B` as a user types it: what it prints, its JSON, its exit status, and what it refuses."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import jsonschema
import pytest

import fwdtrace
from fwdtrace.trace import Leaf, TensorMeta
from tests.helpers.commands import Command, finish, start

SCHEMA = json.loads(
    (Path(fwdtrace.__file__).parent / "trace" / "schema" / "comparison-1.json").read_text(encoding="utf-8")
)

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

    from fwdtrace.compare.saved_numbers import SavedValues, save_values
    from fwdtrace.recorder.measures.keeper import Kept, digest_of

    tensor = torch.randn(7).to(getattr(torch, dtype))
    kept = Kept((7,), tensor.dtype, tensor, digest_of(tensor), None)
    save_values({3: ((kept,), (kept, None))}, folder / "v.safetensors")
    saved = SavedValues(folder / "v.safetensors")
    assert saved.array(0).tolist() == tensor.double().tolist()
    assert saved.about(0) == {"shape": [7], "dtype": dtype, "digest": digest_of(tensor).hex(), "stats": None}


def test_a_trace_is_shown_though_its_values_cannot_be_written(
    command: Command, nets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    ran = command("run", "nets.py:Net", "-i", "x.pt", "--save-values", "full.safetensors", "-o", "t.json")
    assert ran.status == 2 and "--save-values full.safetensors: cannot be written" in ran.err
    assert "inp Linear" in ran.out and fwdtrace.load_trace("t.json").run.values is None


def test_a_tensor_of_a_rare_type_is_saved_by_its_fingerprint(command: Command, nets: Path) -> None:
    (nets / "rare.py").write_text(
        "import torch\nclass Rare(torch.nn.Module):\n    def forward(self, x):\n        return torch.fft.fft(x)\n"
    )
    for name in ("a", "b"):
        kept = ("--save-values", f"{name}.safetensors", "-o", f"{name}.json")
        assert command("run", "rare.py:Rare", "-i", "2x4", *kept).status == 0
    assert "bit-identical" in command("compare", "a.json", "b.json").out


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
    ],
)
def test_what_cannot_be_compared_is_refused(
    command: Command, nets: Path, arguments: tuple[str, ...], message: str
) -> None:
    found = command("compare", *arguments)
    assert found.status == 2 and message in found.err and not found.out


RAISED = """\
The second run leaves the first at inp (Linear): it raised RuntimeError in the
second.
"""


def test_a_model_that_raises_is_compared_up_to_there(command: Command, nets: Path) -> None:
    (nets / "broken.py").write_text(NETS.replace("self.inp = nn.Linear(4, 4)", "self.inp = nn.Linear(3, 4)"), "utf-8")
    found = command("compare", "nets.py:Net", "broken.py:Net", "-i", "x.pt", "-o", "c.json")
    assert found.status == 2 and found.out.startswith(RAISED)
    assert "RuntimeError: mat1 and mat2 shapes cannot be multiplied (1x4 and 3x4)\n" in found.err
    assert found.err.endswith("fwdtrace: 'broken.py:Net' raised while it ran; the traceback above is its own\n")
    assert json.loads(Path("c.json").read_text(encoding="utf-8"))["origin"]["path"] == "inp"


def test_two_models_that_raise_alike_are_told_of(command: Command, nets: Path) -> None:
    found = command("compare", "nets.py:Net", "nets.py:Net", "-i", "1x5")
    assert found.status == 2 and "Note: inp raised RuntimeError in both." in found.out
    assert "'nets.py:Net' raised while it ran" in found.err


def saved(command: Command, file: str, *arguments: str) -> None:
    assert command("run", "nets.py:Net", *arguments, "-o", file).status == 0


def test_runs_of_other_inputs_are_told_so(command: Command, nets: Path) -> None:
    saved(command, "a.json", "-i", "2x4", "--stats", "--save-values", "a.safetensors")
    saved(command, "b.json", "-i", "2x4", "--stats", "--save-values", "b.safetensors", "--seed", "1")
    saved(command, "c.json", "-i", "3x4")
    found = command("compare", "a.json", "b.json")
    assert found.status == 1 and found.out.startswith("The two runs were given other inputs, up to ")
    assert "Note: recorded with seeds 0 and 1" in " ".join(found.out.split())
    found = command("compare", "a.json", "c.json")
    assert found.out.startswith("The two runs were given other inputs, 2×4 float32 and 3×4 float32: ")
    assert "Note: values were saved with a.json only." in found.out


def test_a_trace_is_its_own_equal_and_one_without_calls_is_nothing_to_compare(command: Command, nets: Path) -> None:
    saved(command, "a.json", "-i", "2x4")
    assert command("compare", "a.json", "a.json").out.startswith("No difference found: 4 calls on both sides, alike in")
    trace = fwdtrace.load_trace("a.json")
    dataclasses.replace(trace, calls=(), ops=None, findings=()).save("none.json")
    found = command("compare", "none.json", "none.json")
    assert (found.status, found.out) == (2, "")
    assert found.err == "fwdtrace: compare none.json none.json: neither holds a call, so there is nothing to compare\n"
    found = command("compare", "a.json", "none.json")
    assert found.status == 1 and "the model (Net) runs in the first only" in found.out


def test_models_that_have_nothing_to_do_with_each_other_are_no_equals(command: Command, nets: Path) -> None:
    found = command("compare", "nets.py:Mixes", "lenet", "-i", "x.pt")
    assert found.status == 2
    saved(command, "a.json", "-i", "2x4")
    command("run", "lenet", "-o", "b.json")
    found = command("compare", "a.json", "b.json")
    assert found.status == 1 and "1×10" in found.out


def test_a_trace_of_another_torch_is_compared_within_tolerance_and_said_to_be(command: Command, nets: Path) -> None:
    saved(command, "a.json", "-i", "x.pt", "--stats")
    trace = fwdtrace.load_trace("a.json")
    older = dataclasses.replace(trace.versions, torch="2.4.1+cpu")
    calls = [dataclasses.replace(call, outputs=tuple(rounded(leaf) for leaf in call.outputs)) for call in trace.calls]
    dataclasses.replace(trace, versions=older, calls=tuple(calls)).save("b.json")
    found = command("compare", "a.json", "b.json")
    assert found.status == 0 and found.out.startswith("No difference found beyond rounding: 4 calls")
    assert f"recorded with torch {trace.versions.torch} and 2.4.1+cpu" in " ".join(found.out.split())


def rounded(leaf: Leaf) -> Leaf:
    assert isinstance(leaf, TensorMeta) and leaf.stats is not None and leaf.stats.max is not None
    return dataclasses.replace(leaf, stats=dataclasses.replace(leaf.stats, max=leaf.stats.max + 1e-6))


def test_whole_numbers_too_large_for_a_float_are_told_apart(command: Command, nets: Path) -> None:
    import torch

    (nets / "whole.py").write_text(
        "import torch\nclass Add(torch.nn.Module):\n    def __init__(self, n): super().__init__(); self.n = n\n"
        "    def forward(self, x): return x + self.n\n",
        encoding="utf-8",
    )
    torch.save(torch.tensor([2**60]), nets / "n.pt")
    found = command("compare", "whole.py:Add(0)", "whole.py:Add(1)", "-i", "n.pt")
    assert found.status == 1 and "gives other numbers, up to 1 apart" in found.out
    for name, number in (("a", 0), ("b", 1)):
        kept = ("--save-values", f"{name}.safetensors", "-o", f"{name}.json")
        assert command("run", f"whole.py:Add({number})", "-i", "n.pt", *kept).status == 0
    assert "gives other numbers, up to 1 apart" in command("compare", "a.json", "b.json").out


def test_a_saved_comparison_is_no_trace_to_show(command: Command, nets: Path) -> None:
    command("compare", "nets.py:Net", "nets.py:Net", "-i", "x.pt", "-o", "c.json")
    found = command("show", "c.json")
    assert found.status == 2 and "c.json" in found.err and "comparison" in found.err
