"""The JSON of a comparison is judged against its schema, the contract, and a document written by hand."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import fwdtrace
from fwdtrace.compare.comparison import Growth, Origin, TraceComparison
from fwdtrace.compare.difference import Difference
from fwdtrace.compare.direct.comparison import Carried, DirectComparison, Experiment, Fired, Measurement, Round
from fwdtrace.compare.document import FORMAT
from fwdtrace.compare.numbers.distance import Distance
from fwdtrace.trace import Finding, ModelInfo, Site, Versions

SCHEMA = json.loads(
    (Path(fwdtrace.__file__).parent / "trace" / "schema" / "comparison-1.json").read_text(encoding="utf-8")
)
VERSIONS = Versions("0.1.0", "2.13.0", "3.11.7")
MODEL = ModelInfo("net.py:Net", "net.Net", False, 62)
APART = Distance(4.0, None, 12, same=False, close=False)
ROWS = ("differences", "inventory", "experiments", "findings")

DIRECT = DirectComparison(
    "f5.forward(x) is not f5(x).",
    (Difference("output", "numbers", "logits", "1×10 float32", "none", "differs", None, "f5", "eval", "first"),),
    VERSIONS,
    MODEL,
    fix="write f5(x)",
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
            (Round("eval", "first", (Measurement("output", "a", "b", False),)),),
            (Fired("f5", "forward", "net.look", 1, 0),),
            (Fired("f5", "forward_pre", "", 1, 0),),
        ),
    ),
    findings=(Finding("FT001", "direct-forward", 2, "ran without", Site("net.py", 9, "Net.forward", "x")),),
    notes=("a note",),
)

TRACES = TraceComparison(
    "The second run leaves the first at c1.",
    (Difference("output", "numbers", "c1", "f32[1]", "f32[2]", "other shape", 1),),
    VERSIONS,
    MODEL,
    MODEL,
    origin=Origin("c1", 1, "Conv2d", apart=APART, why=("weight differs",)),
    growth=(Growth("c1", 1, APART),),
    seed=3,
)


def written(comparison: TraceComparison | DirectComparison) -> Any:
    stream = io.StringIO()
    comparison.write(stream)
    return json.loads(stream.getvalue())


def test_the_document_of_a_direct_call_is_what_the_contract_says() -> None:
    document = written(DIRECT)
    assert list(document) == [
        *("format", "kind", "equal", "verdict", "fix", "origin", "versions", "model", "seed", "copies", "notes"),
        *ROWS,
    ]
    assert {name: document[name] for name in document if name not in ROWS} == {
        "format": FORMAT,
        "kind": "direct-forward",
        "equal": False,
        "verdict": "f5.forward(x) is not f5(x).",
        "fix": "write f5(x)",
        "origin": None,
        "versions": {"fwdtrace": "0.1.0", "torch": "2.13.0", "python": "3.11.7"},
        "model": {"spec": "net.py:Net", "class": "net.Net", "training": False, "parameters": 62},
        "seed": 3,
        "copies": "a deep copy",
        "notes": ["a note"],
    }
    assert document["differences"] == [
        {
            **{"kind": "output", "severity": "numbers", "path": "logits", "before": "1×10 float32"},
            **{"after": "none", "message": "differs", "nth": None},
            **{"target": "f5", "mode": "eval", "round": "first"},
        }
    ]
    assert document["experiments"][0]["rounds"] == [
        {
            "mode": "eval",
            "name": "first",
            "measures": [{"what": "output", "called": "a", "direct": "b", "same": False}],
        }
    ]


def test_the_document_of_two_traces_is_what_the_contract_says() -> None:
    apart = {"absolute": 4.0, "relative": None, "ulp": 12, "same": False, "close": False}
    document = written(TRACES)
    assert FORMAT == "fwdtrace.comparison/1"
    assert document["kind"] == "traces" and (document["fix"], document["copies"]) == ("", "")
    assert document["other"] == document["model"]
    assert document["origin"] == {
        "path": "c1",
        "nth": 1,
        "class": "Conv2d",
        "apart": apart,
        "why": ["weight differs"],
        "pass": "forward",
    }
    assert document["growth"] == [{"path": "c1", "nth": 1, "apart": apart}]
    assert [document[name] for name in ("inventory", "experiments", "findings")] == [[], [], []]


def test_what_nobody_measured_is_absent() -> None:
    document = written(replace(TRACES, origin=Origin("f5", 1)))
    assert document["differences"][0].keys() == {"kind", "severity", "path", "before", "after", "message", "nth"}
    assert document["origin"] == {"path": "f5", "nth": 1, "class": "", "why": [], "pass": "forward"}
    assert written(DIRECT)["inventory"] == [
        {"path": "f5", "class": "Linear", "kind": "forward", "name": "net.look", "file": "net.py", "line": 7}
    ]


def test_the_schema_is_a_schema_and_takes_both_kinds() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(written(DIRECT), SCHEMA)
    jsonschema.validate(written(TRACES), SCHEMA)


@pytest.mark.parametrize("key", SCHEMA["required"])
def test_a_document_without_a_field_is_not_taken(key: str) -> None:
    document = written(DIRECT)
    del document[key]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, SCHEMA)


def test_a_file_is_ascii_with_a_row_a_line(tmp_path: Path) -> None:
    DIRECT.save(tmp_path / "c.json")
    text = (tmp_path / "c.json").read_bytes().decode("ascii")
    assert len([line for line in text.splitlines() if line.startswith("  {")]) == 4
    assert text.endswith("}\n") and json.loads(text) == written(DIRECT)


def test_a_comparison_that_cannot_be_written_to_its_end_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "c.json"
    TRACES.save(file)
    old = file.read_bytes()
    endless = replace(DIRECT, findings=(Finding("FT001", "direct-forward", 2, "ran", float("inf")),))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="Out of range float"):
        endless.save(file)
    assert file.read_bytes() == old
    assert list(tmp_path.iterdir()) == [file]


def test_a_folder_that_is_not_there_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        TRACES.save(tmp_path / "nowhere" / "c.json")
