"""The ranking letter for letter, on traces written by hand: where time, operations, parameters and memory go."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from fwdtrace.render.ranking import Key, print_ranking, ranking_text
from fwdtrace.trace import Call, TensorMeta, Trace
from tests.helpers.traces import call, measured, on_a_device, tensor, trace


def net(*, flops: bool = True) -> Trace:
    """A model of a block of two layers, called twice, and a head outside the tree."""

    def costs(time: float, operations: int, parameters: int = 0) -> dict[str, object]:
        return {"duration_us": time, "flops": operations if flops else None, "parameters": parameters}

    return trace(
        call(0, None, "", "Net", shape_out=(1, 10), **costs(1000, 9_500_000, 1530)),
        call(1, 0, "block", "Block", shape_out=(1, 256), **costs(400, 4_000_000, 1020)),
        call(2, 1, "block.up", "Linear", shape_out=(1, 256, 16), **costs(300, 3_000_000, 1000)),
        call(3, 1, "block.act", "ReLU", shape_out=(1, 256, 16), **costs(50, 0)),
        call(4, 0, "block", "Block", shape_out=(1, 256), nth=2, **costs(350, 4_000_000, 1020)),
        call(5, 0, None, "Linear", shape_out=(1, 10), **costs(100, 1_500_000, 510)),
    )


TEXTS: dict[Key, str] = {
    "time": """\
module           calls    time  own time  FLOPs  params    output
Net                  1  1.0 ms    150 µs   9.5M    1.5k      40 B
block Block          2  750 µs    400 µs   8.0M    1.0k   2.0 KiB
block.up Linear      1  300 µs    300 µs   3.0M    1.0k  16.0 KiB
(Linear)             1  100 µs    100 µs   1.5M     510      40 B
block.act ReLU       1   50 µs     50 µs      0          16.0 KiB

FLOPs as torch counts them: no attention on CPU, no fused encoder layers""",
    "self-time": """\
module           calls    time  own time  FLOPs  params    output
block Block          2  750 µs    400 µs   8.0M    1.0k   2.0 KiB
block.up Linear      1  300 µs    300 µs   3.0M    1.0k  16.0 KiB

3 more modules, --top 5 shows all
FLOPs as torch counts them: no attention on CPU, no fused encoder layers""",
    "flops": """\
module       calls    time  own time  FLOPs  params   output
Net              1  1.0 ms    150 µs   9.5M    1.5k     40 B
block Block      2  750 µs    400 µs   8.0M    1.0k  2.0 KiB

3 more modules, --top 5 shows all
FLOPs as torch counts them: no attention on CPU, no fused encoder layers""",
    "parameters": """\
module       calls    time  own time  FLOPs  params   output
Net              1  1.0 ms    150 µs   9.5M    1.5k     40 B
block Block      2  750 µs    400 µs   8.0M    1.0k  2.0 KiB

3 more modules, --top 5 shows all
FLOPs as torch counts them: no attention on CPU, no fused encoder layers""",
    "memory": """\
module           calls    time  own time  FLOPs  params    output
block.up Linear      1  300 µs    300 µs   3.0M    1.0k  16.0 KiB
block.act ReLU       1   50 µs     50 µs      0          16.0 KiB

3 more modules, --top 5 shows all
FLOPs as torch counts them: no attention on CPU, no fused encoder layers""",
}


@pytest.mark.parametrize("by", TEXTS)
def test_the_modules_are_sorted_by_what_was_asked(by: Key) -> None:
    assert ranking_text(net(), by=by, top=5 if by == "time" else 2) == TEXTS[by]


def test_a_trace_without_flops_has_no_such_column() -> None:
    assert ranking_text(net(flops=False), by="parameters", top=1) == (
        "module  calls    time  own time  params  output\n"
        "Net         1  1.0 ms    150 µs    1.5k    40 B\n"
        "\n"
        "4 more modules, --top 5 shows all"
    )


def test_flops_that_were_not_counted_are_asked_for_in_the_order_of_calls() -> None:
    lines = ranking_text(net(flops=False), by="flops", top=2).splitlines()
    assert [line.split()[0] for line in lines[1:3]] == ["Net", "block"]
    assert lines[-1] == "no FLOPs were counted when this was recorded; --costs counts them"


def test_a_module_that_calls_itself_is_not_counted_twice() -> None:
    outer = call(0, None, "", "Tree", duration_us=100.0, flops=8)
    inner = call(1, 0, "", "Tree", duration_us=60.0, flops=4, nth=2)
    text = ranking_text(trace(outer, inner), by="time", top=1)
    assert text.splitlines()[1].split() == ["Tree", "2", "100", "µs", "100", "µs", "8", "128", "B"]


def test_memory_is_that_of_every_tensor_in_the_output_by_its_type() -> None:
    outputs = (tensor(2, 3), TensorMeta("ids", (10,), "int64"), TensorMeta("mask", (7,), "bool"))
    text = ranking_text(trace(call(0, None, "", "Net", outputs=outputs)), by="memory", top=1)
    assert text.splitlines()[1].endswith(" 111 B")


def test_a_narrow_window_keeps_the_name_and_what_is_sorted_by() -> None:
    text = ranking_text(net(), by="parameters", top=2, width=30)
    assert text.splitlines()[:3] == ["module       params", "Net            1.5k", "block Block    1.0k"]
    assert max(map(len, text.splitlines())) <= 30


def test_a_long_name_is_cut_in_its_middle() -> None:
    long: Call = call(0, None, "model.decoder.layers.17.self_attention.projection", "Linear", duration_us=1.0)
    line = ranking_text(trace(long), by="time", top=1, width=50).splitlines()[1]
    assert line.startswith("model.de…ention.projection  1 µs") and len(line) <= 50


def test_brackets_in_names_are_not_markup() -> None:
    odd = replace(net().calls[1], path="[red]x[/red]", parent=None)
    stream = io.StringIO()
    print_ranking(trace(odd), Console(file=stream, width=80), by="time", top=3)
    assert "[red]x[/red] Block" in stream.getvalue()


def test_an_empty_trace_is_a_title_alone() -> None:
    assert ranking_text(trace(), by="time", top=3) == "module"


def test_times_of_a_device_stand_beside_the_hosts_and_memory_is_the_peak() -> None:
    assert ranking_text(on_a_device(), by="memory", top=3, width=100) == (
        "module       calls    time  own time  host time     peak  output\n"
        "Net              1  5.0 ms    300 µs     900 µs  3.0 MiB    64 B\n"
        "up Linear        1  4.0 ms    4.0 ms     300 µs  1.0 MiB    64 B\n"
        "score Score      1  700 µs    700 µs\n"
        "\n"
        "time and own time: device time, 1 call by the host's clock"
    )


def test_modules_are_ranked_by_statistics_and_gradients_and_what_has_none_comes_last() -> None:
    def lines(by: Key) -> list[str]:
        text = ranking_text(measured(), by=by, top=9, width=200)
        return [line.split()[0] for line in text.split("\n\n")[0].splitlines()[1:]]

    assert lines("mean") == ["Net", "up", "down", "frozen"]
    assert lines("grad") == ["Net", "up", "down", "frozen"]
    assert lines("nan") == ["down", "Net", "up", "frozen"]
    assert "none" in ranking_text(measured(), by="grad", top=3, width=40).splitlines()[3]
    assert ranking_text(net(), by="self", top=3) == ranking_text(net(), by="self-time", top=3)
    assert ranking_text(net(), by="std", top=1).endswith("there is no std in this trace; --stats measures it")
