"""What is nonsense in a trace is refused as it is loaded: references, numbers, keys, and text that is no JSON."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from fwdtrace.errors import TraceFileError
from fwdtrace.trace import Stats, TensorMeta
from fwdtrace.trace.json_stream import JSONStream
from fwdtrace.trace.read import load_trace
from fwdtrace.trace.trace import write_trace
from tests.helpers.commands import Command
from tests.helpers.growth import takes_at_most
from tests.helpers.traces import call, everything, trace

NO_TRACE = "is no trace that can be read: "


def document() -> Any:
    stream = io.StringIO()
    write_trace(everything(), stream)
    return json.loads(stream.getvalue())


def refusal(text: str | bytes, folder: Path) -> str:
    """What is said of a file with this text, without the name of the file."""
    file = folder / "trace.json"
    file.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    with pytest.raises(TraceFileError) as refused:
        load_trace(file)
    message = str(refused.value)
    assert message.startswith(f"{file} ") and message.isprintable() and len(message) < 400
    return message.removeprefix(f"{file} ")


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("calls", 0, "id"), -1, "calls[0].id must be a whole number from 0 to 2^63 - 1, not -1"),
        (("calls", 0, "nth"), 0, "calls[0].nth must be a whole number from 1 to 2^63 - 1, not 0"),
        (("calls", 0, "depth"), 1, "calls[0].depth must be 0, not 1"),
        (("calls", 1, "depth"), 2, "calls[1].depth must be 1, not 2"),
        (("calls", 0, "parent"), 0, "calls[0].parent must be the id of an earlier call, not 0"),
        (("calls", 0, "parameters"), 2**63, "calls[0].parameters must be a whole number from 0 to 2^63 - 1, not 9223"),
        (("calls", 0, "inputs", 0, "shape", 0), -2, "calls[0].inputs[0].shape[0] must be a whole number from -1"),
        (("gradients", 0, "shape", 0), -1, "gradients[0].shape[0] must be a whole number from 0 to"),
        (("calls", 0, "duration_us"), -0.5, "calls[0].duration_us must be a number from 0, not -0.5"),
        (("calls", 0, "duration_us"), 2**63 - 1, "calls[0].duration_us must be a number below 2^63, not 9223372"),
        (("calls", 0, "site", "line"), -3, "calls[0].site.line must be a whole number from 0"),
        (("calls", 1, "outputs"), [{"name": "", "value": "1"}], "calls[1].outputs must be empty, as the call raised"),
        (("ops", 0, "id"), 0, "ops[0].id must not be 0, which is the id of a call"),
        (("ops", 1, "id"), 1, "ops[1].id must be above 1, the one before, not 1"),
        (("ops", 0, "parent"), 2, "ops[0].parent must be the id of an earlier call, not 2"),
        (("run", "values"), "../v.saf", "run.values must be the name of a file beside the trace, not '../v.saf'"),
        (("run", "values"), "..", "run.values must be the name of a file beside the trace, not '..'"),
        (("run", "values"), "v\0", r"run.values must be the name of a file beside the trace, not 'v\x00'"),
    ],
)  # fmt: skip
def test_a_field_that_cannot_be_is_named(place: tuple[Any, ...], value: Any, message: str, tmp_path: Path) -> None:
    made = document()
    part = made
    for step in place[:-1]:
        part = part[step]
    part[place[-1]] = value
    assert refusal(json.dumps(made), tmp_path).startswith(NO_TRACE + message)


@pytest.mark.parametrize("size", [-1, 0, 2**62])
def test_a_size_may_be_ragged_or_large(size: int, tmp_path: Path) -> None:
    made = document()
    made["calls"][0]["inputs"][0]["shape"] = [size]
    (tmp_path / "t.json").write_text(json.dumps(made))
    assert load_trace(tmp_path / "t.json").calls[0].inputs[0].shape == (size,)  # type: ignore[union-attr]


def test_the_largest_of_all_floats_is_a_number(tmp_path: Path) -> None:
    stats = Stats(1.7e308, 0.0, -1.7e308, 1.7e308, 0, 0, 0)
    leaf = TensorMeta("", (2,), "float64", stats=stats)
    large = trace(call(0, None, "", "Net", outputs=(leaf,)))
    large.save(tmp_path / "t.json")
    assert load_trace(tmp_path / "t.json") == large


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1, "a": 2}', "is not JSON: the key 'a' comes twice; name a file that fwdtrace saved"),
        ('{"a": [{"b": 1, "b": 1}]}', "is not JSON: the key 'b' comes twice; name a file that fwdtrace saved"),
        ('{"a": ' + "9" * 5000 + "}", "is not JSON: Exceeds the limit (4300 digits)"),
        ('{"a": ' + "[" * 100_000, "is not JSON: it has brackets within brackets without end; name"),
        ('{"a": ' + "[" * 100_000 + "]" * 100_000 + "}", "is not JSON: it has brackets within brackets without end"),
        ('{"format": "x"}'.encode("utf-16"), "is not JSON: it is not even text in UTF-8; name"),
        ('{"format": "x"}'.encode("utf-32-le"), r"is not JSON: '\x00' stands where a key must be"),
        (b'{"a\0": 1}', "is not JSON: invalid control character at; name"),
        (b'{"a": "\xff"}', "is not JSON: it is not even text in UTF-8; name"),
        (b"\0\0\0\0", "is not JSON: expecting value; name"),
    ],
)
def test_text_that_is_no_sound_json_is_refused(text: str | bytes, message: str, tmp_path: Path) -> None:
    assert refusal(text, tmp_path).startswith(message)


@pytest.mark.parametrize("depth", [100, 300, 500, 900, 990])
def test_lists_within_lists_are_refused_at_any_depth(depth: int, tmp_path: Path) -> None:
    made = json.dumps(document()).replace('"chain": [', '"chain": [' + "[" * depth + "]" * depth + ", ", 1)
    assert refusal(made, tmp_path).startswith("is no")


def test_control_characters_in_a_trace_are_shown_as_text(command: Command, folder: Path) -> None:
    made = document()
    made["calls"][0]["class"] = "Net\x1b[31m\0\u202e\ud800"
    (folder / "t.json").write_text(json.dumps(made))
    shown = command("show", "t.json", "--columns", "output")
    assert shown.status == 0
    assert r"Net\x1b[31m\x00\u202e\ud800" in shown.out
    assert not set(shown.out) & {"\x1b", "\0", "\u202e", "\ud800"}


def test_a_text_of_many_megabytes_is_read_in_linear_time() -> None:
    def read(megabytes: int) -> None:
        stream = JSONStream(io.StringIO(json.dumps("x" * (megabytes << 20))))
        assert len(stream.value()) == megabytes << 20

    assert takes_at_most(64, lambda: read(32), lambda: read(2))  # not 256 times as long
