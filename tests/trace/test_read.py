"""Trace files: read back as they were written, valid against the schema, and refused when they are something else."""

from __future__ import annotations

import copy
import io
import json
import os
import tracemalloc
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from fwdtrace.errors import TraceFileError
from fwdtrace.trace import Trace
from fwdtrace.trace.json_stream import JSONStream
from fwdtrace.trace.read import FORMAT, load_trace, save_trace, write_trace
from tests.helpers.traces import call, everything, lenet, odd, tensor, trace

SCHEMA = Draft202012Validator(json.loads(files("fwdtrace").joinpath("trace/schema/trace-1.json").read_text("utf-8")))


def text_of(saved: Trace) -> str:
    stream = io.StringIO()
    write_trace(saved, stream)
    return stream.getvalue()


def document(saved: Trace) -> Any:
    return json.loads(text_of(saved))


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
    save_trace(everything(), tmp_path / "trace.json")
    assert load_trace(tmp_path / "trace.json") == everything()


@pytest.mark.parametrize("seed", range(60))
def test_any_trace_is_loaded_as_it_was_saved(seed: int, tmp_path: Path) -> None:
    save_trace(odd(seed), tmp_path / "trace.json")
    assert load_trace(tmp_path / "trace.json") == odd(seed)


@pytest.mark.parametrize("seed", range(60))
def test_any_saved_trace_is_valid(seed: int) -> None:
    SCHEMA.validate(document(odd(seed)))


def test_the_schema_is_a_schema_and_takes_every_field() -> None:
    Draft202012Validator.check_schema(SCHEMA.schema)
    SCHEMA.validate(document(everything()))


def test_a_row_has_the_keys_of_the_format() -> None:
    made = document(trace(call(0, None, "", "Net", (1, 3), (1, 2), parameters=8, duration_us=2.5)))
    assert made == {
        "format": "fwdtrace.trace/1",
        "versions": {"fwdtrace": "0.1.0", "torch": "2.13.0", "python": "3.11.7"},
        "model": {"spec": "model.py:Net", "class": "model.Net", "training": False, "parameters": 1234},
        "run": {"device": "cpu", "grad": False, "seed": 0, "rank": None, "duration_us": 1500.0},
        "calls": [
            {
                "id": 0,
                "parent": None,
                "depth": 0,
                "path": "",
                "class": "Net",
                "nth": 1,
                "entry": "__call__",
                "inputs": [
                    {"name": "input", "shape": [1, 3], "dtype": "float32", "device": "cpu", "requires_grad": False}
                ],
                "outputs": [{"name": "", "shape": [1, 2], "dtype": "float32", "device": "cpu", "requires_grad": False}],
                "site": {
                    "file": "/home/user/model.py",
                    "line": 10,
                    "function": "Net.forward",
                    "code": "x = self.layer(x)",
                },
                "chain": ["Module._wrapped_call_impl", "Module._call_impl", "Net.forward"],
                "hooks": [],
                "parameters": 8,
                "duration_us": 2.5,
                "error": None,
            }
        ],
        "findings": [],
    }


def test_what_nobody_asked_to_measure_is_absent() -> None:
    plain = document(lenet())
    assert "ops" not in plain
    assert "duration_us" not in plain["calls"][1]
    full = document(everything())
    assert full["calls"][0]["inputs"][0]["layout"] == "sparse_coo"
    assert full["calls"][0]["hooks"][1] == {"kind": "global_full_backward", "name": "model.watch", "fired": False}
    assert full["calls"][1]["error"] == {"type": "ValueError", "message": "no", "raised_below": True}
    assert full["calls"][1]["outputs"] == []
    assert "error" not in full["ops"][0]


def test_a_call_is_a_line() -> None:
    rows = [line for line in text_of(lenet()).splitlines() if line.startswith("  {")]
    assert [json.loads(line.rstrip(",]"))["path"] for line in rows if '"chain"' in line][:3] == ["", "c1", "sig"]


def test_a_document_is_ascii_whatever_is_in_it() -> None:
    assert all(text_of(odd(seed)).isascii() for seed in range(10))


def test_a_time_that_is_no_number_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        save_trace(trace(call(0, None, "", "Net", duration_us=float("nan"))), tmp_path / "trace.json")
    assert list(tmp_path.iterdir()) == []


def break_format(made: Any) -> None:
    made["format"] = "fwdtrace.trace/2"


def break_unknown_key(made: Any) -> None:
    made["calls"][0]["colour"] = "red"


def break_missing_key(made: Any) -> None:
    del made["calls"][0]["site"]


def break_entry(made: Any) -> None:
    made["calls"][0]["entry"] = "call"


def break_shape(made: Any) -> None:
    made["calls"][0]["inputs"][0]["shape"] = "2x3"


def break_outputs_of_error(made: Any) -> None:
    made["calls"][1]["outputs"] = [{"name": "", "value": "None"}]


def break_hook_kind(made: Any) -> None:
    made["calls"][0]["hooks"][0]["kind"] = "sideways"


def break_finding_code(made: Any) -> None:
    made["findings"][0]["code"] = "direct-forward"


def break_null_for_absent(made: Any) -> None:
    made["calls"][0]["thread"] = None


@pytest.mark.parametrize(
    "broken",
    [
        break_format,
        break_unknown_key,
        break_missing_key,
        break_entry,
        break_shape,
        break_outputs_of_error,
        break_hook_kind,
        break_finding_code,
        break_null_for_absent,
    ],
)
def test_the_schema_refuses_what_is_not_the_format(broken: Any) -> None:
    made = document(everything())
    assert SCHEMA.is_valid(made)
    broken(made)
    assert not SCHEMA.is_valid(made)


def test_it_does_not_matter_how_the_document_is_laid_out(tmp_path: Path) -> None:
    file = tmp_path / "trace.json"
    for laid_out in (
        json.dumps(document(everything()), indent=4, sort_keys=True),
        json.dumps(document(everything()), separators=(",", ":"), ensure_ascii=False),
        "\ufeff\r\n" + text_of(everything()).replace("\n", "\r\n"),
    ):
        file.write_text(laid_out, encoding="utf-8")
        assert load_trace(file) == everything()


def test_fields_from_a_later_fwdtrace_are_passed_over(tmp_path: Path) -> None:
    made = document(lenet())
    made["weather"] = {"sun": True}
    made["calls"][3]["colour"] = ["red"]
    (tmp_path / "trace.json").write_text(json.dumps(made))
    assert load_trace(tmp_path / "trace.json") == lenet()


def test_what_calls_have_in_common_is_one_object(tmp_path: Path) -> None:
    save_trace(trace(*(call(id, None, "", "Net", nth=id + 1) for id in range(3))), tmp_path / "trace.json")
    first, _, third = load_trace(tmp_path / "trace.json").calls
    assert first.inputs is third.inputs
    assert first.site is third.site
    assert first.chain is third.chain
    assert first.class_name is third.class_name


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


def test_a_file_cut_anywhere_is_said_to_be_cut_short(tmp_path: Path) -> None:
    text = text_of(trace(call(0, None, "", "Net"), call(1, 0, "é\n", "A", parameters=12))).rstrip("\n")
    for end in range(1, len(text)):
        assert refusal(text[:end], tmp_path).startswith("is cut short: it ends "), text[:end]


def test_a_cut_names_the_call_it_came_after(tmp_path: Path) -> None:
    text = text_of(lenet())
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
    message = refusal(text_of(lenet()).replace("640.1", "1e999"), tmp_path)
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


def test_an_interrupted_save_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "trace.json"
    save_trace(lenet(), file)
    last = call(99, 0, "late", "Late", duration_us=float("inf"))
    with pytest.raises(ValueError, match="not JSON compliant"):
        save_trace(replace(lenet(), calls=(*lenet().calls, last)), file)
    assert load_trace(file) == lenet()
    assert list(tmp_path.iterdir()) == [file]


def test_whoever_reads_the_old_file_while_it_is_saved_again_reads_it_whole(tmp_path: Path) -> None:
    file = tmp_path / "trace.json"
    save_trace(lenet(), file)
    with file.open() as old:
        save_trace(everything(), file)
        assert old.read() == text_of(lenet())
    assert load_trace(file) == everything()


def test_a_saved_file_has_the_rights_of_any_other(tmp_path: Path) -> None:
    save_trace(lenet(), tmp_path / "trace.json")
    (tmp_path / "other").write_text("")
    assert (tmp_path / "trace.json").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_saving_over_a_link_writes_what_it_points_to(tmp_path: Path) -> None:
    (tmp_path / "link.json").symlink_to(tmp_path / "trace.json")
    save_trace(lenet(), tmp_path / "link.json")
    assert (tmp_path / "link.json").is_symlink()
    assert load_trace(tmp_path / "trace.json") == lenet()


def test_a_device_is_written_to_and_not_replaced() -> None:
    save_trace(lenet(), os.devnull)
    assert not Path(os.devnull).is_file()


def test_a_folder_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        save_trace(lenet(), tmp_path / "nowhere" / "trace.json")


def test_writing_holds_no_more_than_a_row() -> None:
    class Counted(io.TextIOBase):
        written = 0

        def write(self, text: str, /) -> int:
            self.written += len(text)
            return len(text)

    many = trace(*(call(id, None, "", "Net", inputs=(tensor(1, id),)) for id in range(3000)))
    stream = Counted()
    tracemalloc.start()
    write_trace(many, stream)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert stream.written > 1_000_000
    assert most < 100_000


def test_a_copy_of_a_document_is_not_touched_by_reading(tmp_path: Path) -> None:
    made = document(everything())
    kept = copy.deepcopy(made)
    (tmp_path / "trace.json").write_text(json.dumps(made))
    assert document(load_trace(tmp_path / "trace.json")) == kept
