"""Two models side by side, or one in two ways: what is said, in which form, and with which exit status."""

from __future__ import annotations

import json
from functools import partialmethod
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import fwdtrace
from tests.helpers.commands import Command, finish, start
from tests.run.conftest import NETS

SCHEMA = json.loads(
    (Path(fwdtrace.__file__).parent / "trace" / "schema" / "comparison-1.json").read_text(encoding="utf-8")
)


SHOWN = """\
The second run leaves the first at inp (Linear): its inputs agree, its output
does not: bias differs by up to 4, nets.py:18.

first   Net · nets.py:Net · 30 parameters
second  Net · nets.py:Net(bias=4) · 30 parameters

  from there on   difference    relative         ulp
  inp                      4           4  33,554,432
  drop                     4           4  33,554,432
  out                     16           4  33,554,432
  the model               16           4  33,554,432

wrong numbers
  ✗ the model gives other numbers, up to 16 apart, 4 of the largest element,
    33,554,432 ulp
    … and 3 more differences of output, which --json lists

Note: tolerance: float32 4e-06 of the largest element; what is within it is
called rounding.
"""


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
    assert "bfloat16 0.016 of the largest element" in found.out


def test_examples_come_out_the_same_in_a_larger_batch_unless_the_model_mixes_them(command: Command, nets: Path) -> None:
    assert command("compare", "nets.py:Mixes", "-i", "2x4", "--batch", "3").status == 0
    found = command("compare", "nets.py:Mixes", "nets.py:Mixes", "-i", "2x4", "--batch", "3", "--train", "--json")
    assert json.loads(found.out)["origin"]["path"] == "norm"


@pytest.mark.filterwarnings("ignore")
def test_a_compiled_model_is_compared_by_what_comes_out(
    command: Command, nets: Path, monkeypatch: pytest.MonkeyPatch, dynamo: None
) -> None:
    from torch import nn

    monkeypatch.setattr(nn.Module, "compile", partialmethod(nn.Module.compile, backend="eager"))
    found = command("compare", "nets.py:Net", "-i", "x.pt", "--compile")
    assert found.status == 0, found.out + found.err
    assert "of compiled code only what goes in and comes out is seen" in found.out.replace("\n", " ")


@pytest.mark.sweep
def test_a_model_that_is_compiled_to_machine_code_is_compared_by_what_comes_out(nets: Path) -> None:
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
    sites = [document["origin"].pop(name) for name in ("site", "first_site")]
    assert [site["line"] for site in sites] == [18, 18]
    assert document["origin"] == {
        **{"path": "inp", "nth": 1, "class": "Linear", "why": ["bias differs by up to 4"], "pass": "forward"},
        "apart": {"absolute": 4.0, "relative": 4.0, "ulp": 33554432, "same": False, "close": False},
    }
    assert [row["path"] for row in document["growth"]] == ["inp", "drop", "out", ""]


def test_a_port_with_other_names_gets_the_weights_of_the_first(command: Command, nets: Path) -> None:
    maps = ("--map", "inp=first", "--map", "out=last")
    assert command("compare", "nets.py:Net", "nets.py:Other", "-i", "2x4", *maps).status == 1
    found = command("compare", "nets.py:Net", "nets.py:Other", "-i", "2x4", *maps, "--same-init")
    assert found.status == 0
    assert "4 of 4 weights of the second are copies of the first's" in found.out


PORTS = """
import torch
from torch import nn
from torch.nn import functional as F


class A(nn.Module):
    def __init__(self):
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(8, 8, bias=False) for _ in range(4))

    def forward(self, x):
        return self.o(F.scaled_dot_product_attention(self.q(x), self.k(x), self.v(x)))


class B(nn.Module):
    def __init__(self, causal=False, spare=False):
        super().__init__()
        self.qkv, self.proj, self.causal = nn.Linear(8, 24, bias=False), nn.Linear(8, 8, bias=spare), causal

    def forward(self, inputs):
        q, k, v = self.qkv(inputs).chunk(3, -1)
        return self.proj(F.scaled_dot_product_attention(q, k, v, is_causal=self.causal))
"""


def compared(command: Command, folder: Path, second: str, *more: str) -> tuple[int, dict[str, Any]]:
    (folder / "ports.py").write_text(PORTS, encoding="utf-8")
    found = command("compare", "ports.py:A", f"ports.py:{second}", "-i", "2x5x8", *more, "--json")
    document = json.loads(found.out)
    jsonschema.validate(document, SCHEMA)
    return found.status, document


def test_a_fused_port_gets_all_weights_and_gives_the_same(command: Command, nets: Path) -> None:
    status, document = compared(command, nets, "B", "--same-init")
    weights, outputs = document["weights"], document["outputs"]
    assert (status, weights["copied"], weights["of"], weights["left"]) == (0, 2, 2, [])
    assert [piece["name"] for piece in weights["pairs"][0]["pieces"]] == ["q.weight", "k.weight", "v.weight"]
    assert outputs["equal"] and document["verdict"].startswith("No difference found")


def test_an_argument_of_an_op_is_the_origin_with_its_line(command: Command, nets: Path) -> None:
    status, document = compared(command, nets, "B(causal=True)", "--same-init")
    origin = document["origin"]
    assert status == 1 and document["outputs"]["equal"] is False
    assert origin["op"] == "F.scaled_dot_product_attention" and origin["site"]["line"] == 23
    assert origin["why"] == ["F.scaled_dot_product_attention(is_causal=True is given in the second only)"]
    assert document["verdict"].startswith("The results differ by up to")


def test_a_weight_that_was_not_moved_and_matters_is_no_equal(command: Command, nets: Path) -> None:
    status, document = compared(command, nets, "B(spare=True)", "--same-init")
    assert status == 1 and document["weights"]["matter"] == ["proj.bias"]
    assert {row["kind"] for row in document["differences"]} >= {"weight"}


def test_a_map_that_was_saved_moves_the_weights_again(command: Command, nets: Path) -> None:
    assert compared(command, nets, "B", "--same-init", "--save-map", "map.json")[0] == 0
    status, document = compared(command, nets, "B", "--map", "map.json")
    assert status == 0 and document["weights"]["copied"] == 2
    (nets / "other.json").write_text("{}", encoding="utf-8")
    assert (
        "was not written by --save-map" in command("compare", "nets.py:Net", "nets.py:Net", "--map", "other.json").err
    )


def test_a_checkpoint_is_converted_by_the_map(command: Command, nets: Path) -> None:
    import torch

    compared(command, nets, "B", "--same-init", "--save-map", "map.json")
    state = {f"{name}.weight": torch.randn(8, 8) for name in "qkvo"}
    torch.save(state, nets / "a.pt")
    found = command("convert", "a.pt", "--map", "map.json", "-o", "b.pt")
    assert found.status == 0 and "2 weights written to b.pt" in found.err
    made = torch.load(nets / "b.pt", weights_only=True)
    assert torch.equal(made["qkv.weight"], torch.cat([state[f"{name}.weight"] for name in "qkv"]))
    assert compared(command, nets, "B", "--weights", "a.pt", "--weights-of-second", "b.pt")[0] == 0
    torch.save({"q.weight": state["q.weight"]}, nets / "a.pt")
    assert "lacks 3 weights that the map needs" in command("convert", "a.pt", "--map", "map.json", "-o", "b.pt").err


def test_one_input_may_have_two_names(command: Command, nets: Path) -> None:
    (nets / "ports.py").write_text(PORTS, encoding="utf-8")
    wrong = command("compare", "ports.py:A", "ports.py:B", "-i", "x=2x5x8")
    assert wrong.status == 2 and "the second, ports.py:B" in wrong.err and "it takes inputs" in wrong.err
    assert command("compare", "ports.py:A", "ports.py:B", "-i", "x|inputs=2x5x8", "--same-init").status == 0


def test_a_map_that_matches_nothing_is_named(command: Command, nets: Path) -> None:
    found = command("compare", "nets.py:Net", "nets.py:Net", "-i", "2x4", "--map", "nowhere=inp")
    assert "--map nowhere=inp matches no name of the first" in found.out.replace("\n", " ")


RAISED = """\
The second raises RuntimeError (mat1 and mat2 shapes cannot be multiplied (1x4
and 3x4)) at inp (Linear), broken.py:18.
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
