"""The JSON of a comparison is judged against its schema, the contract, and a document written by hand."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch

import fwdtrace
from fwdtrace.compare.comparison import Carried, Comparison, Difference, Experiment, Fired, Measure, Origin, Round
from fwdtrace.compare.comparison_file import FORMAT, save_comparison, write_comparison
from fwdtrace.models.zoo import mechanisms
from fwdtrace.trace import Finding, ModelInfo, Site, Versions

SCHEMA = json.loads(
    (Path(fwdtrace.__file__).parent / "trace" / "schema" / "comparison-1.json").read_text(encoding="utf-8")
)

COMPARISON = Comparison(
    "direct-forward",
    "f5.forward(x) is not f5(x).",
    (Difference("output", "numbers", "logits", "1×10 float32", "none", "differs", None, "f5", "eval", "first"),),
    Versions("0.1.0", "2.13.0", "3.11.7"),
    ModelInfo("net.py:Net", "net.Net", False, 62),
    fix="write f5(x)",
    origin=Origin("f5", 1, "Linear", why=("weight differs",)),
    seed=3,
    copies="a deep copy",
    inventory=(Carried("f5", "Linear", "forward", "net.look", file="net.py", line=7),),
    experiments=(
        Experiment(
            "f5",
            "f5(x)",
            "f5.forward(x)",
            ("Module._call_impl", "Linear.forward"),
            ("Linear.forward",),
            (Round("eval", "first", (Measure("output", "a", "b", False),)),),
            (Fired("f5", "forward", "net.look", 1, 0),),
            (Fired("f5", "forward_pre", "", 1, 0),),
        ),
    ),
    findings=(Finding("FT001", "direct-forward", 2, "ran without", Site("net.py", 9, "Net.forward", "x")),),
    notes=("a note",),
)


def written(comparison: Comparison) -> Any:
    stream = io.StringIO()
    write_comparison(comparison, stream)
    return json.loads(stream.getvalue())


def test_the_document_is_what_the_contract_says() -> None:
    document = written(COMPARISON)
    assert document["format"] == FORMAT == "fwdtrace.comparison/1"
    assert document["kind"] == "direct-forward" and document["equal"] is False
    assert document["verdict"] == "f5.forward(x) is not f5(x)."
    assert document["origin"] == {"path": "f5", "nth": 1, "class": "Linear", "why": ["weight differs"]}
    assert document["differences"] == [
        {
            **{"kind": "output", "severity": "numbers", "path": "logits", "before": "1×10 float32"},
            **{"after": "none", "message": "differs", "nth": None},
            **{"target": "f5", "mode": "eval", "round": "first"},
        }
    ]


def test_what_nobody_measured_is_absent() -> None:
    plain = Difference("output", "numbers", "c1", "f32[1]", "f32[2]", "other shape", 1)
    document = written(Comparison("traces", "differs.", (plain,), COMPARISON.versions, COMPARISON.model))
    assert document["differences"][0].keys() == {"kind", "severity", "path", "before", "after", "message", "nth"}
    assert written(COMPARISON)["inventory"] == [
        {"path": "f5", "class": "Linear", "kind": "forward", "name": "net.look", "file": "net.py", "line": 7}
    ]
    jsonschema.validate(document, SCHEMA)


def test_the_schema_is_a_schema_and_takes_the_document() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(written(COMPARISON), SCHEMA)


@pytest.mark.parametrize("key", SCHEMA["required"])
def test_a_document_without_a_field_is_not_taken(key: str) -> None:
    document = written(COMPARISON)
    del document[key]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, SCHEMA)


@pytest.mark.parametrize("build", [mechanisms.Layers, mechanisms.EveryHook, mechanisms.spectral_norm, mechanisms.lazy])
def test_the_schema_takes_what_is_measured(build: Any) -> None:
    jsonschema.validate(written(fwdtrace.compare_direct(build, torch.ones(8, 16))), SCHEMA)


def test_a_file_is_ascii_with_a_row_a_line(tmp_path: Path) -> None:
    save_comparison(COMPARISON, tmp_path / "c.json")
    text = (tmp_path / "c.json").read_bytes().decode("ascii")
    assert len([line for line in text.splitlines() if line.startswith("  {")]) == 4
    assert text.endswith("}\n")
