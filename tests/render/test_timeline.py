"""A timeline nests as the calls do."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from fwdtrace.render.timeline import timeline_text
from tests.helpers.traces import lenet, on_a_device, residual


def test_a_timeline_holds_complete_events_that_nest_as_the_calls_do() -> None:
    document = json.loads(timeline_text(lenet()))
    assert document["displayTimeUnit"] == "ms"
    slices = [event for event in document["traceEvents"] if event["ph"] == "X"]
    assert [event["name"].split()[0] for event in slices][:3] == ["LeNet", "c1", "sig"]
    assert all({"name", "ph", "ts", "dur", "pid", "tid"} <= set(event) for event in slices)
    root, *inner = slices
    begin = root["ts"]
    for event in inner:  # none before the other has ended, and all within the call around them
        assert event["ts"] >= begin
        begin = event["ts"] + event["dur"]
    assert begin <= root["ts"] + root["dur"] + 1e-6
    assert "begin where the one before it ends" in document["otherData"]["placement"]


def test_slices_are_as_long_as_the_device_took_and_tell_the_hosts_time() -> None:
    document = json.loads(timeline_text(on_a_device()))
    slices = [event for event in document["traceEvents"] if event["ph"] == "X"]
    assert [(event["dur"], event["args"].get("host_us")) for event in slices] == [
        *((5000, 900), (4000, 300), (700, None)),
    ]
    assert slices[0]["args"]["memory_bytes"] == 3 * 2**20
    assert document["otherData"]["durations"] == "device time, 1 call by the host's clock"
    assert "durations" not in json.loads(timeline_text(lenet()))["otherData"]


def test_arrows_lead_from_the_calls_that_gave_data_to_those_that_got_it() -> None:
    timed = tuple(replace(call, duration_us=10.0 if call.id else 30.0) for call in residual().calls)
    events = json.loads(timeline_text(replace(residual(), calls=timed)))["traceEvents"]
    begins = {event["id"]: event for event in events if event["ph"] == "s"}
    ends = {event["id"]: event for event in events if event["ph"] == "f"}
    slices = [event for event in events if event["ph"] == "X" and event["name"] != "Net"]

    def slice_at(arrow: Any) -> str:
        return next(event["name"] for event in slices if event["ts"] < arrow["ts"] < event["ts"] + event["dur"])

    assert [(slice_at(begins[id]), slice_at(ends[id])) for id in begins] == [("first Linear", "second Linear")]
    assert all(event["bp"] == "e" for event in ends.values())
