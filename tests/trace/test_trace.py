"""A trace answers questions about its calls and ops, and writes itself: judged on traces made by hand."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest

from fwdtrace.trace import Op, Trace
from fwdtrace.trace.read import load_trace
from fwdtrace.trace.trace import write_trace
from tests.helpers.growth import takes_at_most
from tests.helpers.traces import call, document, everything, json_of, lenet, odd, tensor, trace


def family() -> Trace:
    """Two roots; the first has two children, and its first child has one."""
    return trace(
        call(0, None, "", "Net"),
        call(1, 0, "a", "A", aliases=("b", "c")),
        call(2, 1, "a.x", "X", depth=2),
        call(5, 0, "d", "D"),
        call(6, None, "", "Net", nth=2),
    )


def test_the_calls_of_a_module_are_found_by_its_path() -> None:
    assert [found.nth for found in lenet().at("sig")] == [1, 2]
    assert [found.id for found in family().at("")] == [0, 6]
    assert lenet().at("nowhere") == ()


def test_the_calls_of_a_module_are_found_by_an_alias() -> None:
    assert [found.id for found in family().at("c")] == [1]


def test_calls_of_modules_outside_the_tree_are_found_by_none() -> None:
    assert [found.id for found in trace(call(0, None, "", "Net"), call(1, 0, None, "Softmax")).at(None)] == [1]


def test_a_call_is_found_by_its_id_though_ids_have_gaps() -> None:
    assert family().call(5).path == "d"
    with pytest.raises(KeyError):
        family().call(3)


def test_children_are_the_calls_made_directly_and_roots_have_no_caller() -> None:
    made = family()
    assert [child.id for child in made.children()] == [0, 6]
    assert [child.id for child in made.children(made.call(0))] == [1, 5]
    assert made.children(made.call(2)) == ()


def test_walking_goes_depth_first_in_order_of_beginning() -> None:
    made = family()
    assert [found.id for found in made.walk()] == [0, 1, 2, 5, 6]
    assert [found.id for found in made.walk(made.call(0))] == [1, 2, 5]


def test_walking_ten_thousand_levels_needs_no_recursion() -> None:
    deep = trace(*(call(id, id - 1 if id else None, "", "Net", depth=id) for id in range(10_000)))
    assert sum(1 for _ in deep.walk()) == 10_000


def busy() -> Trace:
    """A root that makes `a`, which makes an op and `a.x`, then an op of its own; ids have gaps."""
    calls = (call(0, None, "", "Net"), call(1, 0, "a", "A"), call(4, 1, "a.x", "X", depth=2))
    return trace(*calls, ops=(Op(2, 1, "+"), Op(5, 0, "torch.cat"), Op(7, None, "*")))


def test_events_are_calls_and_ops_in_order_of_beginning() -> None:
    assert [event.id for event in busy().events] == [0, 1, 2, 4, 5, 7]
    assert lenet().events == lenet().calls
    assert trace(call(0, None, "", "Net"), ops=()).events == (call(0, None, "", "Net"),)


def test_what_a_call_made_are_the_calls_and_ops_directly_below_it() -> None:
    made = busy()
    assert [event.id for event in made.made_by()] == [0, 7]
    assert [event.id for event in made.made_by(made.call(0))] == [1, 5]
    assert [event.id for event in made.made_by(made.call(1))] == [2, 4]
    assert made.made_by(made.call(4)) == made.made_by(made.events[2]) == ()


def test_the_caller_of_a_call_or_op_is_the_call_that_made_it() -> None:
    made = busy()
    assert made.caller(made.events[2]) == made.call(1)
    assert made.caller(made.call(0)) is made.caller(made.events[-1]) is None
    assert [caller.id for caller in made.callers(made.call(4))] == [1, 0]
    assert list(made.callers(made.call(0))) == []


def test_a_call_ends_with_the_last_call_or_op_below_it() -> None:
    assert {event.id: busy().end(event) for event in busy().events} == {0: 5, 1: 4, 2: 2, 4: 4, 5: 5, 7: 7}


def test_calls_sorted_by_their_ends_are_in_order_of_ending() -> None:
    made = busy()
    ended = sorted(made.events, key=lambda event: (made.end(event), -event.id))
    assert [event.id for event in ended] == [2, 4, 1, 5, 0, 7]


def test_innermost_calls_make_no_call_but_may_run_ops() -> None:
    assert [found.id for found in busy().innermost] == [4]
    assert [found.id for found in family().innermost] == [2, 5, 6]


def test_twenty_thousand_calls_of_one_caller_are_asked_in_linear_time() -> None:
    def asked(number: int) -> None:
        wide = wides[number]
        assert all(wide.end(each) == each.id and len(wide.children(wide.call(0))) == number for each in wide.calls[1:])

    wides = {
        number: trace(call(0, None, "", "Net"), *(call(id, 0, f"l{id}", "L") for id in range(1, number + 1)))
        for number in (1_000, 20_000)
    }
    # A copy of the children for each call would take 400 times as long.
    assert takes_at_most(80, lambda: asked(20_000), lambda: asked(1_000))


def test_traces_are_equal_by_value_and_cannot_be_changed() -> None:
    assert lenet() == lenet()
    assert lenet() != lenet(direct=True)
    with pytest.raises(dataclasses.FrozenInstanceError):
        lenet().calls[0].path = "other"  # type: ignore[misc]


def test_asking_a_trace_does_not_change_what_it_equals() -> None:
    asked = lenet()
    asked.call(0), asked.children(), asked.events, asked.made_by(), asked.end(asked.call(0)), asked.innermost
    assert asked == lenet()


def test_a_trace_saves_itself(tmp_path: Path) -> None:
    lenet().save(tmp_path / "trace.json")
    assert load_trace(tmp_path / "trace.json") == lenet()


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
    rows = [line for line in json_of(lenet()).splitlines() if line.startswith("  {")]
    assert [json.loads(line.rstrip(",]"))["path"] for line in rows if '"chain"' in line][:3] == ["", "c1", "sig"]


def test_a_document_is_ascii_whatever_is_in_it() -> None:
    assert all(json_of(odd(seed)).isascii() for seed in range(10))


def test_a_time_that_is_no_number_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        trace(call(0, None, "", "Net", duration_us=float("nan"))).save(tmp_path / "trace.json")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_save_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "trace.json"
    lenet().save(file)
    last = call(99, 0, "late", "Late", duration_us=float("inf"))
    with pytest.raises(ValueError, match="not JSON compliant"):
        replace(lenet(), calls=(*lenet().calls, last)).save(file)
    assert load_trace(file) == lenet()
    assert list(tmp_path.iterdir()) == [file]


def test_whoever_reads_the_old_file_while_it_is_saved_again_reads_it_whole(tmp_path: Path) -> None:
    file = tmp_path / "trace.json"
    lenet().save(file)
    with file.open() as old:
        everything().save(file)
        assert old.read() == json_of(lenet())
    assert load_trace(file) == everything()


def test_a_saved_file_has_the_rights_of_any_other(tmp_path: Path) -> None:
    lenet().save(tmp_path / "trace.json")
    (tmp_path / "other").write_text("")
    assert (tmp_path / "trace.json").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_saving_over_a_link_writes_what_it_points_to(tmp_path: Path) -> None:
    (tmp_path / "link.json").symlink_to(tmp_path / "trace.json")
    lenet().save(tmp_path / "link.json")
    assert (tmp_path / "link.json").is_symlink()
    assert load_trace(tmp_path / "trace.json") == lenet()


def test_a_device_is_written_to_and_not_replaced() -> None:
    lenet().save(os.devnull)
    assert not Path(os.devnull).is_file()


def test_a_folder_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        lenet().save(tmp_path / "nowhere" / "trace.json")


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
