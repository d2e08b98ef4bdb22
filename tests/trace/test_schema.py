"""The JSON Schema of a trace takes what is saved, and refuses what is not the format."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.helpers.traces import document, everything, odd

SCHEMA = Draft202012Validator(json.loads(files("fwdtrace").joinpath("trace/schema/trace-1.json").read_text("utf-8")))


@pytest.mark.parametrize("seed", range(60))
def test_any_saved_trace_is_valid(seed: int) -> None:
    SCHEMA.validate(document(odd(seed)))


def test_the_schema_is_a_schema_and_takes_every_field() -> None:
    Draft202012Validator.check_schema(SCHEMA.schema)
    SCHEMA.validate(document(everything()))


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
