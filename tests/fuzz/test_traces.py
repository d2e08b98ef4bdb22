"""Spoilt traces are refused in one line, or loaded, shown in every format and compared without a fault."""

from __future__ import annotations

import io
import json
from importlib.resources import files
from pathlib import Path
from random import Random
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from jsonschema import Draft202012Validator
from torch import nn

import fwdtrace
from fwdtrace.cli.files import TRACE_SUFFIXES
from fwdtrace.cli.options import Shown
from fwdtrace.cli.results import save_as_suffix
from fwdtrace.compare import compare_traces
from fwdtrace.errors import TraceFileError
from fwdtrace.findings import find
from fwdtrace.models.zoo.lenets import LeNetDirect
from fwdtrace.program.ranks import rank_differences
from fwdtrace.render.html import comparison_html
from fwdtrace.render.two_traces import changes_text
from fwdtrace.trace import Trace
from fwdtrace.trace.read import load_trace
from fwdtrace.trace.trace import write_trace
from tests.fuzz.mutations import spoilt
from tests.helpers.hangs import in_time
from tests.helpers.traces import everything, odd

MUTATIONS = 600
PARTS = 2

WAYS = (
    Shown(),
    Shown(no_fold=True),
    Shown(depth=1),
    Shown(source=True),
    *(Shown(sort=key) for key in ("time", "self-time", "flops", "parameters", "memory")),
)


def schema() -> Draft202012Validator:
    """What a trace must be, but for names of hooks and findings, of which a later version may have more."""
    made = json.loads(files("fwdtrace").joinpath("trace/schema/trace-1.json").read_text("utf-8"))
    del made["$defs"]["hook"]["properties"]["kind"]["pattern"]
    del made["$defs"]["finding"]["properties"]["code"]["pattern"]
    return Draft202012Validator(made)


SCHEMA = schema()


class Small(nn.Module):
    """A model with a hook, a shared module, ops, and a layer that may not fit."""

    def __init__(self, features: int = 4) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))
        self.last = nn.Linear(features, 2)
        self.layers[1].register_forward_hook(lambda module, args, out: out * 2)

    def forward(self, x: torch.Tensor) -> Any:
        for layer in self.layers:
            x = torch.relu(layer(x))
        return {"logits": self.last.forward(x), "mean": x.mean() / 0.0, "name": "small"}


def recorded(model: nn.Module, *shape: int) -> Trace:
    with fwdtrace.record(model, ops=True, check_finite=True, stats=True, costs=True, gradients=True) as recording:
        try:
            out = model(torch.ones(*shape))
            (out["logits"] if isinstance(out, dict) else out).sum().backward()
        except RuntimeError:
            pass
    return recording.trace


@pytest.fixture(scope="module")
def traces() -> list[Trace]:
    real = [recorded(Small(), 2, 4), recorded(Small(5), 2, 4), recorded(LeNetDirect(), 1, 3, 32, 32)]
    return [*real, everything(), odd(3), odd(7)]


def loaded(file: Path) -> Trace | None:
    """The trace in the file; None if it is refused, in one line that can be printed."""
    try:
        return load_trace(file)
    except TraceFileError as error:
        assert str(error).isprintable() and len(str(error)) < 400, error
        return None


SOUND_ROWS: set[tuple[str, str]] = set()


def check_schema(document: dict[str, Any]) -> None:
    """A trace follows the schema; a row that did so before, as most of a spoilt trace did, is not looked at again."""
    new = set()
    for key in ("calls", "ops"):
        rows = {(key, json.dumps(row)): row for row in document.get(key, ())}
        document |= {key: [row for text, row in rows.items() if text not in SOUND_ROWS]} if key in document else {}
        new |= set(rows)
    SCHEMA.validate(document)
    SOUND_ROWS.update(new)


def check_sound(trace: Trace) -> None:
    """A trace that was loaded is one that a recording could give, and is written as it was read."""
    stream = io.StringIO()
    write_trace(trace, stream)
    check_schema(json.loads(stream.getvalue(), parse_constant=lambda name: pytest.fail(name)))
    ids = [row.id for row in (*trace.calls, *(trace.ops or ()))]
    assert len(set(ids)) == len(ids)
    by_id = {call.id: call for call in trace.calls}
    for row in (*trace.calls, *(trace.ops or ())):
        assert row.parent is None or row.parent < row.id
        assert row.parent is None or row.parent in by_id
    for call in trace.calls:
        assert call.depth == (0 if call.parent is None else by_id[call.parent].depth + 1)
    assert all(finding.call is None or finding.call in by_id for finding in trace.findings)


def check_shown(trace: Trace, folder: Path, shown: Shown, number: int) -> None:
    """Every format can be written, the two that take longest now and then, and is text that is what it says it is."""
    for suffix in TRACE_SUFFIXES:
        if number % {".svg": 4, ".html": 2}.get(suffix, 1):
            continue
        file = folder / f"shown{suffix}"
        save_as_suffix(trace, file, shown, width=80)
        text = file.read_bytes().decode()
        if suffix == ".svg":
            ElementTree.fromstring(text)
        if suffix.endswith(".json"):
            json.loads(text)
        if suffix in (".txt", ".md", ".mmd", ".dot", ".html", ".svg"):
            assert not set(text) & {"\0", "\x1b", "\u202e", "\ufffe"}, suffix
        if suffix == ".html":
            assert "<script>alert(1)" not in text
        if suffix == ".json":
            assert load_trace(file) == trace
        file.unlink()  # to write over a file takes longer


def check_compared(before: Trace, after: Trace) -> None:
    comparison = compare_traces(before, after)
    for width in (1, 40, 80):
        changes_text(comparison, width=width).encode()
    comparison_html(comparison).encode()
    stream = io.StringIO()
    comparison.write(stream)
    json.loads(stream.getvalue())


def fuzz(traces: list[Trace], folder: Path, seeds: range) -> int:
    """Spoil a trace for each seed and follow it through the program; how many were loaded."""
    documents = []
    for trace in traces:
        stream = io.StringIO()
        write_trace(trace, stream)
        documents.append(json.loads(stream.getvalue()))
    accepted = 0
    for seed in seeds:
        chance = Random(seed)
        number = chance.randrange(len(documents))
        file = folder / "spoilt.json"
        file.write_bytes(spoilt(documents[number], chance))
        try:
            with in_time():
                trace = loaded(file)
                if trace is None:
                    continue
                accepted += 1
                check_sound(trace)
                check_shown(trace, folder, chance.choice(WAYS), accepted)
                check_compared(*chance.sample((traces[number], trace), 2))
                find(trace)
                rank_differences({0: {"t": traces[number]}, 1: {"t": trace}})
        except BaseException as error:
            raise AssertionError(f"seed {seed}: {type(error).__name__}: {error}") from error
    return accepted


@pytest.mark.parametrize("part", range(PARTS))
def test_a_spoilt_trace_is_refused_in_a_line_or_is_as_any_other(part: int, traces: list[Trace], tmp_path: Path) -> None:
    share = MUTATIONS // PARTS
    accepted = fuzz(traces, tmp_path, range(part * share, (part + 1) * share))
    assert share * 0.1 < accepted < share * 0.8


@pytest.mark.long
@pytest.mark.parametrize("part", range(20))
def test_many_more_spoilt_traces(part: int, traces: list[Trace], tmp_path: Path) -> None:
    fuzz(traces, tmp_path, range(10_000 + 500 * part, 10_000 + 500 * (part + 1)))
