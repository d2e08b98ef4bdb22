"""A trace as texts: what ranks that did the same have alike, and what is read of it without its rows."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fwdtrace.trace import Accelerator, Backward, Gradient, Op, Trace, raw
from fwdtrace.trace.raw import RawTrace, read_raw
from tests.helpers.traces import call, everything, tensor, trace


def net(device: str = "cpu", time: float = 5.0, size: int = 4) -> Trace:
    """A trace of one rank."""
    leaf = (tensor(1, size, device=device),)
    peak = Accelerator(memory_bytes=int(time))
    found = trace(
        call(
            0,
            None,
            "",
            "Net",
            duration_us=10 * time,
            inputs=leaf,
            outputs=leaf,
            backward=Backward(0, time),
            accelerator=Accelerator(time),
        ),
        call(1, 0, "a", "Linear", duration_us=time, inputs=leaf, outputs=leaf, accelerator=peak),
        call(2, 0, "b", "ReLU", inputs=leaf, outputs=leaf),
        ops=(Op(3, 0, "+", leaf, leaf),),
        gradients=(Gradient("a.weight", (2,), True, time),),
    )
    return replace(found, run=replace(found.run, device=device, rank=3))


def raw_of(folder: Path, found: Trace) -> RawTrace:
    found.save(folder / "t.json")
    read = read_raw(folder / "t.json")
    assert read is not None
    return read


def test_times_memory_and_the_own_device_do_not_count_and_shapes_do(tmp_path: Path) -> None:
    first = raw_of(tmp_path, net())
    assert raw_of(tmp_path, net("cuda:1", 7.5)).digest == first.digest
    assert raw_of(tmp_path, net(size=5)).digest != first.digest


def test_what_is_read_is_what_the_trace_holds(tmp_path: Path) -> None:
    found = raw_of(tmp_path, net())
    assert list(found.durations) == [50.0, 5.0] and found.outermost == 50.0
    assert found.head.run.rank == 3 and found.findings == ()
    assert [json.loads(row)["name"] for row in found.gradients] == ["a.weight"]
    rows = [json.loads(row)["code"] for row in raw_of(tmp_path, everything()).findings]
    assert rows == [finding.code for finding in everything().findings]


def test_it_is_the_same_however_much_is_read_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for found in (net(), everything()):
        at_once = raw_of(tmp_path, found)
        for size in (1, 300, 1000):
            monkeypatch.setattr(raw, "_CHUNK", size)
            assert raw_of(tmp_path, found) == at_once


@pytest.mark.parametrize("text", ["", "{}", '{"format": "fwdtrace.trace/1",\n "calls": []}', "x\n" * 9])
def test_what_no_trace_was_written_as_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.json").write_text(text)
    assert read_raw(tmp_path / "t.json") is None
