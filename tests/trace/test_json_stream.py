"""JSON is read value by value from a stream, whatever pieces the stream gives it in."""

from __future__ import annotations

import io
import json

from fwdtrace.trace.json_stream import JSONStream


class Drops(io.StringIO):
    """A stream that never gives more than three characters at once."""

    def read(self, size: int | None = -1, /) -> str:
        return super().read(3)


def test_values_are_read_whole_however_little_the_stream_gives() -> None:
    made = {"a": [1.5, -12e-3, None, True, 'é\ud800\n"\\'], "b": [], "n": 1234567890, "": {"c": 10**20}}
    stream = JSONStream(Drops(json.dumps(made)))
    stream.expect("{")
    read = {}
    while not stream.passes("}"):
        if read:
            stream.expect(",")
        key = stream.key()
        read[key] = stream.value()
    assert read == made
    assert stream.token() == ""
