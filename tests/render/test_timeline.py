"""A timeline nests as the calls do."""

from __future__ import annotations

import json

from fwdtrace.render.timeline import timeline_text
from tests.helpers.traces import lenet, on_a_device


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
