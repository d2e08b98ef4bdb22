"""A timeline nests as the calls do."""

from __future__ import annotations

import json

from fwdtrace.render.timeline import timeline_text
from tests.helpers.traces import lenet


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
