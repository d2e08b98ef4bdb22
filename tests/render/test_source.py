"""The source view: the user's code as it stands in the file, and beside each line what it called and what came out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fwdtrace.render.source import source_text
from fwdtrace.trace import Call, CallError, ModelInfo, Op, RunInfo, Site, TensorMeta, Trace, Versions

CODE = """\
class Net(nn.Module):
    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        # one

        # two
        # three
        # four
        return torch.flatten(x)
"""


def trace_of(*rows: Call | Op) -> Trace:
    calls = tuple(row for row in rows if isinstance(row, Call))
    ops = tuple(row for row in rows if isinstance(row, Op))
    versions, run = Versions("0.1.0", "2.13.0", "3.11.7"), RunInfo("cpu", False, 0, None, 1.0)
    return Trace(versions, ModelInfo("net.py:Net", "net.Net", False, 0), run, calls, ops)


def tensor(*shape: int) -> tuple[TensorMeta, ...]:
    return (TensorMeta("", shape, "float32"),)


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "net.py"
    path.write_text(CODE)
    return str(path)


def root() -> Call:
    return Call(0, None, 0, "", "Net", 1, "__call__", tensor(2, 4), tensor(8))


def block(number: int, file: str, **changes: object) -> Call:
    site = Site(file, 4, "Net.forward", "x = block(x)")
    call = Call(number + 1, 0, 1, f"blocks.{number}", "Block", 1, "__call__", tensor(2, 4), tensor(2, 4), site)
    return replace(call, **changes)  # type: ignore[arg-type]


def flatten(file: str, id: int = 9) -> Op:
    site = Site(file, 10, "Net.forward", "return torch.flatten(x)")
    return Op(id, 0, "torch.flatten", tensor(2, 4), tensor(8), site)


def test_every_line_shows_what_it_called_and_each_round_of_a_loop_counts(file: str) -> None:
    trace = trace_of(root(), block(0, file), block(1, file), block(2, file), flatten(file))
    assert (
        source_text(trace)
        == """\
Net.forward  Net
 2 │ def forward(self, x):
 3 │     for block in self.blocks:
 4 │         x = block(x)           blocks.0 … blocks.2 2×4 ×3
   │ … 5 lines that called nothing
10 │     return torch.flatten(x)    torch.flatten 8"""
    )


def test_a_narrow_screen_has_what_a_line_called_below_it(file: str) -> None:
    trace = trace_of(root(), block(0, file), block(1, file, outputs=tensor(2, 8)), flatten(file))
    assert source_text(trace, width=40) == NARROW


NARROW = """\
Net.forward  Net
 2 │ def forward(self, x):
 3 │     for block in self.blocks:
 4 │         x = block(x)
       blocks.0 … blocks.1 2×4 ×1, 2×8
       ×1
   │ … 5 lines that called nothing
10 │     return torch.flatten(x)
       torch.flatten 8"""


def test_many_shapes_of_one_line_are_counted(file: str) -> None:
    blocks = [block(number, file, outputs=tensor(2, number + 1)) for number in range(6)]
    assert "2×1 ×1, 2×2 ×1, 2×3 ×1, 3 other shapes ×3" in " ".join(source_text(trace_of(root(), *blocks)).split())


def test_a_direct_call_is_written_as_one(file: str) -> None:
    assert "blocks.0.forward 2×4" in source_text(trace_of(root(), block(0, file, entry="forward")))


def test_the_line_that_raised_is_marked(file: str) -> None:
    failed = block(0, file, outputs=(), error=CallError("RuntimeError", "no"))
    assert " 4 │         x = block(x)           blocks.0 ✗" in source_text(trace_of(root(), failed))


def test_of_a_file_that_changed_since_only_the_recorded_lines_are_shown(file: str) -> None:
    Path(file).write_text("# another file now\n")
    assert (
        source_text(trace_of(root(), block(0, file), flatten(file)))
        == """\
Net.forward  Net
 4 │ x = block(x)             blocks.0 2×4
10 │ return torch.flatten(x)  torch.flatten 8"""
    )


def test_of_a_file_that_is_not_there_only_the_recorded_lines_are_shown() -> None:
    assert (
        source_text(trace_of(root(), flatten("gone.py")))
        == """\
Net.forward  Net
10 │ return torch.flatten(x)  torch.flatten 8"""
    )


def test_layers_that_torch_called_for_a_line_are_not_shown_beside_it(file: str) -> None:
    inner = block(0, file, id=2, parent=1, depth=2, path="blocks.0.0")
    assert "blocks.0.0" not in source_text(trace_of(root(), block(0, file), inner))


def test_a_model_that_calls_nothing_says_so() -> None:
    assert source_text(trace_of(root())) == "no line of a forward called anything"
