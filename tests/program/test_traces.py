"""The traces of a program go into files with a name of their own, and calls of one round into one trace."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fwdtrace.program.traces import ProgramTraces, joined, split_suffix, with_parts
from fwdtrace.trace import Op, Source, TensorMeta, Trace, Uncalled
from fwdtrace.trace.read import load_trace
from tests.helpers.traces import call, tensor, trace


def saved_by(traces: list[tuple[int, str, int]], file: str = "t.json", fails: str = "") -> tuple[list[str], list[str]]:
    """The names of the files written for these roots, classes and calls, and of those that were saved."""
    written: list[str] = []

    def save(trace: Trace, file: Path) -> bool:
        written.append(file.name)
        return file.name != fails

    program = ProgramTraces([Path(file)], save)
    for root, class_name, number in traces:
        program.add(root, ("", number), in_program(trace(call(0, None, "", class_name)), class_name, number))
    return written, [file.name for files in program.saved.values() for file in files]


def in_program(trace: Trace, class_name: str, number: int) -> Trace:
    """The trace as of this call of a model of this class."""
    model, run = replace(trace.model, class_name=class_name), replace(trace.run, call=number)
    return replace(trace, model=model, run=run)


def test_each_root_and_each_call_has_a_file() -> None:
    written, saved = saved_by([(0, "m.Net", 1), (1, "m.Critic", 1), (0, "m.Net", 3), (2, "m.Critic", 1)])
    assert written == saved == ["t.json", "t.Critic.json", "t.call3.json", "t.Critic.3.json"]


def test_a_file_is_written_again_when_a_call_came_in_by_another_way() -> None:
    assert saved_by([(0, "m.Net", 1), (0, "m.Net", 1)]) == (["t.json", "t.json"], ["t.json"])


def test_a_file_that_could_not_be_written_is_not_saved() -> None:
    assert saved_by([(0, "m.Net", 1), (1, "m.Net", 1)], fails="t.json")[1] == ["t.Net.json"]


@pytest.mark.parametrize(
    ("file", "parts", "name"),
    [
        ("t.json", ("a", "b"), "t.a.b.json"),
        ("t.trace.json", ("a",), "t.a.trace.json"),
        ("t.v1.json", ("a",), "t.v1.a.json"),
        ("t.json", (), "t.json"),
    ],
)
def test_parts_of_a_name_stand_before_the_suffix(file: str, parts: tuple[str, ...], name: str) -> None:
    assert with_parts(Path(file), *parts) == Path(name)


def test_a_suffix_may_have_two_parts() -> None:
    assert split_suffix(Path("t.v1.json")) == ("t.v1", ".json")
    assert split_suffix(Path("a/t.trace.json")) == ("t", ".trace.json")


def test_two_recordings_of_a_root_are_joined_in_order_with_numbers_that_go_on() -> None:
    unused, used = Uncalled("spare", "Linear", 2), Uncalled("f", "Linear", 2)
    first = trace(call(0, None, "", "Net"), call(2, 0, "a", "Linear"), ops=(Op(1, 0, "+"),), uncalled=(unused, used))
    second = trace(call(0, None, "a", "Linear"), call(1, None, "f", "Linear"), ops=(), uncalled=(unused,))
    both = joined(first, second)
    rows = [(row.id, row.parent, row.path, row.nth) for row in both.calls]
    assert rows == [(0, None, "", 1), (2, 0, "a", 1), (3, None, "a", 2), (4, None, "f", 1)]
    assert both.ops == (Op(1, 0, "+"),)
    assert both.uncalled == (unused,)
    assert both.run.duration_us == 3000.0


def rounds(
    folder: Path, *traces: tuple[str, Trace], files: tuple[str, ...] = ("t.json",)
) -> tuple[ProgramTraces, list[str]]:
    """What is there at the end of a program with one model and these traces by mode, and the names of the files."""

    def save(trace: Trace, file: Path) -> bool:
        trace.save(file)
        return True

    program = ProgramTraces([folder / file for file in files], save)
    for number, (mode, each) in enumerate(traces, 1):
        program.add(0, (mode, 1), in_program(each, "m.Net", number))
    program.end()
    assert sorted(path for paths in program.saved.values() for path in paths) == sorted(folder.iterdir())
    return program, sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("modes", [("other", "training"), ("training", "other")])
def test_of_two_modes_that_ran_the_same_the_one_in_training_stays_in_the_first_file(
    modes: tuple[str, str], tmp_path: Path
) -> None:
    net = trace(call(0, None, "", "Net"), call(1, 0, "a", "Linear"))
    program, names = rounds(tmp_path, *((mode, net) for mode in modes), files=("t.json", "u.json"))
    assert list(program.by_key) == [(0, ("training", 1))]
    assert names == ["t.json", "u.json"]
    assert load_trace(tmp_path / "t.json").run.call == load_trace(tmp_path / "u.json").run.call
    assert load_trace(tmp_path / "t.json").run.call == modes.index("training") + 1


def test_modes_that_ran_something_else_are_kept_both(tmp_path: Path) -> None:
    net, more = trace(call(0, None, "", "Net")), trace(call(0, None, "", "Net"), call(1, 0, "a", "Linear"))
    assert rounds(tmp_path, ("other", net), ("training", more))[1] == ["t.call2.json", "t.json"]


def test_what_ran_in_one_mode_is_not_said_to_have_never_run(tmp_path: Path) -> None:
    never, once = Uncalled("never", "Linear", 2), Uncalled("head", "Linear", 2)
    evaluated = trace(call(0, None, "", "Net"), uncalled=(never, once))
    trained = trace(call(0, None, "", "Net"), call(1, 0, "head", "Linear"), uncalled=(never,))
    program, _ = rounds(tmp_path, ("other", evaluated), ("training", trained))
    assert [each.uncalled for each in program.by_key.values()] == [(never,), (never,)]
    assert load_trace(tmp_path / "t.json").uncalled == (never,)


def test_sources_go_on_counting_and_name_no_call_that_is_in_the_trace_now() -> None:
    def of(source: Source, changed_by: int | None = None) -> tuple[TensorMeta, ...]:
        return (replace(tensor(1, 16), source=source, changed_by=changed_by),)

    first = trace(call(0, None, "a", "Linear", outputs=of(Source(0, 0))))
    carried, earlier = of(Source(0, 0, call=2)), of(Source(5, 1, call=1))
    plus = Op(1, 0, "+", (*earlier, *of(Source(argument="x"))), of(Source(1, 0), changed_by=1))
    second = trace(call(0, None, "b", "Net", inputs=carried, outputs=of(Source(1, 0))), ops=(plus,))
    first, second = (replace(each, run=replace(each.run, call=2), ops=each.ops or ()) for each in (first, second))
    both = joined(first, second)
    assert both.calls[1].inputs == of(Source(0, 0)) and both.calls[1].outputs == of(Source(2, 0))
    assert both.ops is not None and both.ops[0].inputs == plus.inputs
    assert both.ops[0].outputs == of(Source(2, 0), changed_by=2)
