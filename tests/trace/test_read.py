"""A saved trace is read back as it was, however it is laid out, and what is something else is refused in one line."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from fwdtrace.errors import TraceFileError
from fwdtrace.trace.read import load_trace
from fwdtrace.trace.trace import FORMAT
from tests.helpers.traces import call, document, everything, json_of, lenet, odd, trace


def refusal(text: str | bytes, folder: Path) -> str:
    """What is said of a file with this text, without the name of the file."""
    file = folder / "trace.json"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(TraceFileError) as refused:
        load_trace(file)
    message = str(refused.value)
    assert message.startswith(f"{file} ") and "\n" not in message
    return message.removeprefix(f"{file} ")


def test_every_field_is_loaded_as_it_was_saved(tmp_path: Path) -> None:
    everything().save(tmp_path / "trace.json")
    assert load_trace(tmp_path / "trace.json") == everything()


@pytest.mark.parametrize("seed", range(60))
def test_any_trace_is_loaded_as_it_was_saved(seed: int, tmp_path: Path) -> None:
    odd(seed).save(tmp_path / "trace.json")
    assert load_trace(tmp_path / "trace.json") == odd(seed)


def test_it_does_not_matter_how_the_document_is_laid_out(tmp_path: Path) -> None:
    file = tmp_path / "trace.json"
    for laid_out in (
        json.dumps(document(everything()), indent=4, sort_keys=True),
        json.dumps(document(everything()), separators=(",", ":"), ensure_ascii=False),
        "\ufeff\r\n" + json_of(everything()).replace("\n", "\r\n"),
    ):
        file.write_text(laid_out, encoding="utf-8")
        assert load_trace(file) == everything()


def test_fields_from_a_later_fwdtrace_are_passed_over(tmp_path: Path) -> None:
    made = document(lenet())
    made["weather"] = {"sun": True}
    made["calls"][3]["colour"] = ["red"]
    (tmp_path / "trace.json").write_text(json.dumps(made))
    assert load_trace(tmp_path / "trace.json") == lenet()


def test_a_field_that_few_calls_have_may_be_there_and_empty(tmp_path: Path) -> None:
    found = document(lenet())
    empty = dict.fromkeys(("forward_inputs", "forward_outputs", "settings", "host_us", "memory_bytes")) | {"state": []}
    (tmp_path / "trace.json").write_text(json.dumps({**found, "calls": [row | empty for row in found["calls"]]}))
    assert load_trace(tmp_path / "trace.json") == lenet()


def test_what_calls_have_in_common_is_one_object(tmp_path: Path) -> None:
    trace(*(call(id, None, "", "Net", nth=id + 1) for id in range(3))).save(tmp_path / "trace.json")
    first, _, third = load_trace(tmp_path / "trace.json").calls
    assert first.inputs is third.inputs
    assert first.site is third.site
    assert first.chain is third.chain
    assert first.class_name is third.class_name


def test_a_file_cut_anywhere_is_said_to_be_cut_short(tmp_path: Path) -> None:
    text = json_of(trace(call(0, None, "", "Net"), call(1, 0, "é\n", "A", parameters=12))).rstrip("\n")
    for end in range(1, len(text)):
        assert refusal(text[:end], tmp_path).startswith("is cut short: it ends "), text[:end]


def test_a_cut_names_the_call_it_came_after(tmp_path: Path) -> None:
    text = json_of(lenet())
    middle = text.index('"path": "f5"')
    assert refusal(text[:middle], tmp_path) == "is cut short: it ends after 8 calls; record it again"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty; record it again"),
        ("digraph {", "is not JSON: expecting value; name a file that fwdtrace saved"),
        (b"\x80\x02PK", "is not JSON: it is not even text in UTF-8; name a file that fwdtrace saved"),
        ("[1, 2]", f"is JSON, but no {FORMAT}; name a file that fwdtrace saved"),
        ("{}", f'is JSON, but no {FORMAT}: it has no "format"; name a file that fwdtrace saved'),
        (
            '{"format": "fwdtrace.comparison/1"}',
            f"has the format 'fwdtrace.comparison/1', not {FORMAT}; name a trace that fwdtrace saved",
        ),
        (
            '{"calls": [{"new": 1}], "format": "fwdtrace.trace/2"}',
            f"has the format 'fwdtrace.trace/2'; this fwdtrace reads {FORMAT}. Record it again or upgrade",
        ),
        ('{"a": NaN}', "is not JSON: NaN is no JSON number; name a file that fwdtrace saved"),
        ('{"a": 1} {}', "is not JSON: it goes on after its end; name a file that fwdtrace saved"),
        ('{"a" 1}', "is not JSON: '1' stands where ':' must be; name a file that fwdtrace saved"),
        ("{1: 2}", "is not JSON: '1' stands where a key must be; name a file that fwdtrace saved"),
    ],
)
def test_what_is_no_trace_is_refused_in_one_line(text: str | bytes, message: str, tmp_path: Path) -> None:
    assert refusal(text, tmp_path) == message


def test_brackets_without_end_are_refused(tmp_path: Path) -> None:
    assert refusal('{"a": ' + "[" * 100_000, tmp_path).startswith("is not JSON: ")


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("versions",), None, "versions must be an object, not None"),
        (("model", "training"), 1, "model.training must be true or false, not 1"),
        (("run", "duration_us"), "1 s", "run.duration_us must be a number, not '1 s'"),
        (("calls",), {}, "calls must be a list"),
        (("findings",), None, "findings must be a list"),
        (("calls", 0), 5, "calls[0] must be an object, not 5"),
        (("calls", 0, "id"), True, "calls[0].id must be a whole number, not True"),
        (("calls", 0, "path"), 7, "calls[0].path must be text, not 7"),
        (("calls", 0, "entry"), "call", "calls[0].entry must be __call__ or forward, not 'call'"),
        (("calls", 0, "inputs", 0, "shape"), [2.0], "calls[0].inputs[0].shape[0] must be a whole number, not 2.0"),
        (("calls", 0, "inputs", 1, "value"), None, "calls[0].inputs[1].value must be text, not None"),
        (("calls", 0, "site", "line"), "3", "calls[0].site.line must be a whole number, not '3'"),
        (("calls", 1, "error"), "no", "calls[1].error must be an object, not 'no'"),
        (("calls", 1, "parent"), 9, "calls[1].parent must be the id of an earlier call, not 9"),
        (("calls", 1, "parent"), 2, "calls[1].parent must be the id of an earlier call, not 2"),
        (("calls", 1, "id"), 0, "calls[1].id must be above 0, the one before, not 0"),
        (("ops", 0, "name"), ["x"] * 99, "ops[0].name must be text, not ['x', 'x', 'x', 'x', 'x', 'x', 'x', 'x'…"),
        (("ops", 1, "parent"), 1, "ops[1].parent must be the id of a call, not 1"),
        (("findings", 0, "call"), 5, "findings[0].call must be the id of a call, not 5"),
    ],
)
def test_a_wrong_field_is_named(place: tuple[Any, ...], value: Any, message: str, tmp_path: Path) -> None:
    made = document(everything())
    part = made
    for step in place[:-1]:
        part = part[step]
    part[place[-1]] = value
    assert refusal(json.dumps(made), tmp_path) == f"is no trace that can be read: {message}"


def test_a_number_beyond_all_numbers_is_refused(tmp_path: Path) -> None:
    message = refusal(json_of(lenet()).replace("640.1", "1e999"), tmp_path)
    assert message == "is no trace that can be read: calls[0].duration_us must be a number, not inf"


def test_a_missing_field_is_named(tmp_path: Path) -> None:
    made = document(everything())
    del made["calls"][0]["hooks"][0]["fired"]
    assert refusal(json.dumps(made), tmp_path) == "is no trace that can be read: calls[0].hooks[0].fired is missing"


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TraceFileError, match="does not exist; `fwdtrace run SPEC"):
        load_trace(tmp_path / "nowhere.json")
    with pytest.raises(TraceFileError, match="is a folder; name a trace file in it"):
        load_trace(tmp_path)


def test_a_copy_of_a_document_is_not_touched_by_reading(tmp_path: Path) -> None:
    made = document(everything())
    kept = copy.deepcopy(made)
    (tmp_path / "trace.json").write_text(json.dumps(made))
    assert document(load_trace(tmp_path / "trace.json")) == kept
