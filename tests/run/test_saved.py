"""Two saved traces side by side: with statistics, with their numbers, and with neither, always without torch."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

import fwdtrace
from fwdtrace.trace import Leaf, TensorMeta
from fwdtrace.trace.digests import earlier_digest_of_bytes
from tests.helpers.commands import Command, finish, start


def saved(command: Command, file: str, *arguments: str) -> None:
    assert command("run", "nets.py:Net", *arguments, "-o", file).status == 0


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

    from fwdtrace.compare.programs.saved_numbers import SavedValues, save_values
    from fwdtrace.recorder.measures.keeper import Kept, digest_of

    tensor = torch.randn(7).to(getattr(torch, dtype))
    kept = Kept((7,), tensor.dtype, tensor, digest_of(tensor), None)
    save_values({3: ((kept,), (kept, None))}, folder / "v.safetensors")
    saved = SavedValues(folder / "v.safetensors")
    assert saved.array(0).tolist() == tensor.double().tolist()
    assert saved.about(0) == {"shape": [7], "dtype": dtype, "digest": digest_of(tensor).hex(), "stats": None}


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


def test_values_with_digests_of_the_earlier_kind_are_read_but_not_beside_those_of_today(
    command: Command, nets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fwdtrace.compare.programs import saved_numbers
    from fwdtrace.recorder.measures import keeper

    def save(spec: str, name: str) -> None:
        kept = ("-i", "x.pt", "--save-values", f"{name}.safetensors", "-o", f"{name}.json")
        assert command("run", spec, *kept).status == 0

    save("nets.py:Net", "new")
    with monkeypatch.context() as earlier:
        earlier.setattr(keeper, "digest_of_bytes", earlier_digest_of_bytes)
        earlier.setattr(saved_numbers._digest, "__defaults__", (earlier_digest_of_bytes,))
        for spec, name in (("nets.py:Net", "a"), ("nets.py:Net", "b"), ("nets.py:Net(bias=4)", "c")):
            save(spec, name)
    assert fwdtrace.load_trace("a.json").run.values_digest != fwdtrace.load_trace("new.json").run.values_digest
    assert "bit-identical" in command("compare", "a.json", "b.json").out
    assert json.loads(command("compare", "a.json", "c.json", "--json").out)["origin"]["apart"]["absolute"] == 4.0
    for pair in (("a.json", "new.json"), ("new.json", "a.json")):
        found = command("compare", *pair)
        assert (found.status, found.err) == (
            2,
            "fwdtrace: a.safetensors was saved by an earlier fwdtrace, whose digests are not those that "
            "new.safetensors holds; save both with the same fwdtrace\n",
        )


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
