"""`compare SPEC --direct-forward`: what it shows of the built-in models and of models of transformers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from fwdtrace.findings.explained import RULES
from fwdtrace.models.zoo import BUILT_INS
from tests.helpers import real_models
from tests.helpers.commands import REPOSITORY, Command

LENET = """\
LeNet · lenet · 62,006 parameters · every run on a model built anew

Nothing on this model acts through __call__: no hook, no __call__ of its own,
nothing compiled in place.

                        model(x)                    model.forward(x)
  ran                   Module._wrapped_call_impl → LeNet.forward
                        Module._call_impl →
                        LeNet.forward
  first step, train mode
=   output              1×10 float32                bit-identical
=   grad_fn             AddmmBackward0              AddmmBackward0
=   autograd graph      24 nodes                    the same nodes
=   gradients           10 of 10 parameters         bit-identical
=   input gradients     1 of 1 inputs               bit-identical
=   buffers             there are none              bit-identical
=   random state        none drawn                  bit-identical
=   training flags      unchanged                   unchanged
  a hook added to a copy, to see whether it runs
    each of 9 kinds     once                        never
      (forward pre-hook, forward hook, always-called forward hook, global
       forward pre-hook, global forward hook, full backward pre-hook, full
       backward hook, global full backward pre-hook, global full backward hook)

= the same in all 6 rounds: first step, second step, changed weights, each in
  train and eval mode
  As measured, autograd was at work on both sides and no training flag changed
  on either.

No difference found: in 6 rounds (train and eval mode) model.forward(x) and
model(x) gave bit-identical outputs, gradients, buffers and random states, and
no hook was lost.
"""


def test_lenet_is_the_same_and_says_so(command: Command) -> None:
    ran = command("compare", "lenet", "--direct-forward")
    assert (ran.status, ran.err) == (0, "")
    assert ran.out == LENET
    assert command("compare", "--direct-forward").out == LENET


def test_each_shows_a_line_for_what_differs(command: Command) -> None:
    ran = command("compare", "lenet-direct", "--direct-forward", "--each")
    assert ran.status == 0
    assert "= 8 modules the same in all rounds: c1, s2, c3, flatten, f5, f6, f7, sig" in ran.out
    assert "x = self.f5.forward(x)" in ran.out


@pytest.mark.usefixtures("dynamo")
@pytest.mark.parametrize(
    ("name", "status", "words"),
    [
        ("every-hook", 1, "unobserved, as it skips look"),
        ("gradient-hook", 1, "makes it 100 times as large"),
        ("weight-norm", 1, "after the weights were changed in place"),
        ("spectral-norm", 1, "silently none"),
        ("pruned", 1, "Trying to backward through the graph a second time"),
        ("lazy", 1, "Fix: write model(x) instead of model.forward(x); run model(x) once before anything else."),
        ("checkpointed", 1, "first runs twice in forward and backward of model(x), once of model.forward(x)"),
        ("compiled", 1, "model(x) runs compiled code, model.forward(x) runs eagerly"),
        ("half-precision", 1, "8×16 float32 instead of 8×16 bfloat16"),
        ("parametrized", 0, "No difference found"),
        ("observed", 0, "No difference found"),
        ("fake-quantized", 0, "No difference found"),
        ("blocks", 0, "No difference found"),
    ],
)
def test_a_built_in_model_shows_what_it_is_for(command: Command, name: str, status: int, words: str) -> None:
    ran = command("compare", name, "--direct-forward")
    assert ran.status == status
    assert words in " ".join(ran.out.split())
    assert max(map(len, ran.out.splitlines())) <= 80


def test_transformers_squeezebert_runs_its_own_layers_directly(command: Command, folder: Path) -> None:
    ran = compared_real_model(command, folder, "SqueezeBertModel")
    assert ran.status == 0
    shown = " ".join(ran.out.split())
    assert "FT001 encoder.layers.0.forward ran without __call__" in shown
    layers = real_models.TRANSFORMERS["SqueezeBertModel"][0]["num_hidden_layers"]
    assert f"and {layers - 1} more from this line" in shown
    assert re.search(
        r"transformers/models/squeezebert/modeling_squeezebert.py:\d+ layer_output = layer.forward\(", shown
    )


@pytest.mark.parametrize("name", ["LlamaForCausalLM", "BertForSequenceClassification", "ViTModel"])
def test_transformers_llama_bert_and_vit_run_nothing_directly(command: Command, folder: Path, name: str) -> None:
    ran = compared_real_model(command, folder, name)
    assert ran.status == 0
    assert "FT001" not in ran.out and "No difference found" in ran.out


def compared_real_model(command: Command, folder: Path, name: str) -> Any:
    settings, reads = real_models.TRANSFORMERS[name]
    code = f"""
import transformers
def build():
    config = transformers.{name}.config_class(**{settings!r})
    return transformers.{name}(config)
"""
    (folder / "real.py").write_text(code, encoding="utf-8")
    input = "1x8:int64:0..90" if reads == "text" else "1x3x30x30"
    return command("compare", "real.py:build", "--direct-forward", "-i", input)


def test_the_same_seed_gives_the_same_document(command: Command) -> None:
    arguments = ("compare", "weight-norm", "--direct-forward", "--json")
    first, again, other = command(*arguments), command(*arguments), command(*arguments, "--seed", "1")
    assert first.out == again.out != other.out


SECTION = (REPOSITORY / "docs" / "call.md").read_text(encoding="utf-8").partition("## What does `__call__` do?")[2]


ROWS = re.findall(r"^\| `([a-z][\w-]+)( --at first)?` \| (.+) \|$", SECTION.partition("\n## ")[0], re.MULTILINE)


@pytest.mark.usefixtures("dynamo")
@pytest.mark.parametrize(("name", "at", "sentence"), ROWS, ids=[row[0] for row in ROWS])
def test_the_documents_say_what_the_command_says(command: Command, name: str, at: str, sentence: str) -> None:
    ran = command("compare", name, "--direct-forward", *at.split())
    assert sentence in " ".join(ran.out.split())


def test_the_documents_have_every_model_of_a_mechanism() -> None:
    targets = ("mechanisms:", "calls:HalfPrecision")
    assert [row[0] for row in ROWS] == [model.name for model in BUILT_INS if model.target.startswith(targets)]


def test_the_documents_quote_what_was_measured_of_autograd_and_training() -> None:
    (quoted,) = re.findall(r'Its words are "([^"]+)"', SECTION)
    assert " ".join(quoted.split()) in " ".join(LENET.split())


def test_the_rules_know_the_command() -> None:
    assert "fwdtrace compare model.py:Net --direct-forward --at layer" in RULES[0].fix
