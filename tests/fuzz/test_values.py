"""Spoilt files of values are refused in one line, or give the very numbers that were saved."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch

from fwdtrace.compare.programs.saved_numbers import SavedValues, save_values, values_of
from fwdtrace.errors import FwdtraceError
from fwdtrace.recorder.measures.keeper import Keeper
from fwdtrace.recorder.recorded import Options
from fwdtrace.recorder.recording import Recording
from fwdtrace.trace import Trace
from tests.fuzz.mutations import NUMBERS, OTHERS, TEXTS, places_in
from tests.fuzz.test_traces import Small
from tests.helpers.hangs import in_time

MUTATIONS = 1000


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Trace, Path]:
    """A trace, and the file of its values; of the later tensors that file has the digest alone."""
    folder = tmp_path_factory.mktemp("run")
    model = Small()
    keeper = Keeper(200, fingerprints=True)
    with Recording(model, Options(keeper=keeper)) as recording:
        model(torch.randn(2, 4))
    trace = recording.trace
    digest = save_values(keeper.by_id, folder / "v.safetensors")
    return replace(trace, run=replace(trace.run, values="v.safetensors", values_digest=digest)), folder


def numbers_of(values: SavedValues, trace: Trace) -> list[Any]:
    """All that a comparison reads: of each tensor what is known of it, and its elements."""
    numbers = [number for call in trace.calls for side in ("inputs", "outputs") for number in values.side(call, side)]
    arrays = [None if number is None else values.array(number) for number in numbers]
    return [
        (None if number is None else values.about(number), None if array is None else array.tobytes())
        for number, array in zip(numbers, arrays, strict=True)
    ]


def spoilt(data: bytes, chance: Random) -> bytes:
    """The file cut, with other bytes, with something after it, or with another header."""
    way = chance.randrange(5)
    if way == 0:
        return data[: chance.randrange(len(data))]
    if way == 1:
        changed = bytearray(data)
        for _ in range(chance.choice((1, 1, 3))):
            changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
        return bytes(changed)
    length = int.from_bytes(data[:8], "little")
    if way == 2:
        wrong = chance.choice((0, 1, length - 1, length + 1, len(data), 2**31, 2**63, 2**64 - 1))
        return wrong.to_bytes(8, "little") + data[8:]
    header = json.loads(data[8 : 8 + length])
    about = header["__metadata__"]
    inner = {key: json.loads(about[key]) for key in ("calls", "tensors")}
    whole = {"header": header, **inner}
    for _ in range(chance.choice((1, 1, 2))):
        within, key = chance.choice(places_in(whole)[3:])
        if chance.random() < 0.2:
            del within[key]
        else:
            places = places_in(whole)
            other, name = chance.choice(places)
            within[key] = copy.deepcopy(chance.choice((*NUMBERS, *TEXTS, *OTHERS, *[other[name]] * 20)))
    if isinstance(header.get("__metadata__"), dict):
        header["__metadata__"].update({key: json.dumps(part) for key, part in inner.items()})
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


def refusal(values: bytes, trace: Trace, folder: Path) -> str | None:
    """What is said of a file with these bytes; None if it gives the numbers that were saved."""
    expected = numbers_of(SavedValues(folder / "v.safetensors"), trace)
    (folder / "spoilt").mkdir(exist_ok=True)
    (folder / "spoilt" / "v.safetensors").write_bytes(values)
    try:
        read = values_of(trace, str(folder / "spoilt" / "t.json"))
        assert read is not None
        assert numbers_of(read, trace) == expected
    except FwdtraceError as error:
        return str(error)
    return None


def test_the_file_as_it_was_saved_gives_its_numbers(run: tuple[Trace, Path]) -> None:
    trace, folder = run
    assert refusal((folder / "v.safetensors").read_bytes(), trace, folder) is None
    arrays = [array for _, array in numbers_of(SavedValues(folder / "v.safetensors"), trace)]
    assert None in arrays and any(array is not None for array in arrays)


def test_spoilt_values_are_refused_in_a_line_or_are_those_that_were_saved(run: tuple[Trace, Path]) -> None:
    trace, folder = run
    data = (folder / "v.safetensors").read_bytes()
    refused = 0
    for seed in range(MUTATIONS):
        try:
            with in_time():
                said = refusal(spoilt(data, Random(seed)), trace, folder)
        except BaseException as error:
            raise AssertionError(f"seed {seed}: {type(error).__name__}: {error}") from error
        if said is not None:
            refused += 1
            assert said.isprintable() and len(said) < 400, f"seed {seed}: {said}"
            assert "spoilt/v.safetensors" in said
    assert refused > MUTATIONS * 0.9


def test_values_of_another_run_are_refused(run: tuple[Trace, Path], tmp_path: Path) -> None:
    trace, _ = run
    model = Small()
    keeper = Keeper(10_000, fingerprints=True)
    with Recording(model, Options(keeper=keeper)):
        model(torch.randn(2, 4))
    save_values(keeper.by_id, tmp_path / "v.safetensors")
    with pytest.raises(FwdtraceError) as refused:
        values_of(trace, str(tmp_path / "t.json"))
    file = tmp_path / "v.safetensors"
    assert str(refused.value) == (
        f"{file} holds the values of another run than {tmp_path}/t.json; save those of each run in a file"
    )


def test_a_trace_from_before_there_were_digests_takes_its_file(run: tuple[Trace, Path]) -> None:
    trace, folder = run
    older = replace(trace, run=replace(trace.run, values_digest=None))
    values = values_of(older, str(folder / "t.json"))
    assert values is not None and numbers_of(values, older)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda data: data[:-10], "holds no values that can be read: it is cut short: it ends 10 bytes before"),
        (lambda data: data[:30], "was not written by `fwdtrace run --save-values`"),
        (lambda data: b"", "was not written by `fwdtrace run --save-values`"),
        (lambda data: data[:-1] + bytes([data[-1] ^ 1]), "have changed since they were saved"),
        (lambda data: data.replace(b'[[0], [1, 2]]', b'[[0], [2, 1]]'), "holds the values of another run"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_file_of_values_is_said(spoil: Any, said: str, run: tuple[Trace, Path]) -> None:
    trace, folder = run
    data = (folder / "v.safetensors").read_bytes()
    assert said in str(refusal(spoil(data), trace, folder))


def test_a_pipe_in_the_place_of_values_is_not_waited_for(run: tuple[Trace, Path], tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "v.safetensors")
    with in_time(), pytest.raises(FwdtraceError, match="is no regular file"):
        values_of(run[0], str(tmp_path / "t.json"))
