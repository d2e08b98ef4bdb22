"""`fwdtrace exec --on nonfinite` on programs that train, each with NaN or an overflow planted at some step."""

from __future__ import annotations

import importlib.util
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from fwdtrace import load_trace
from fwdtrace.trace import Trace
from tests.helpers.commands import REPOSITORY
from tests.helpers.forks import printed_by
from tests.helpers.ranks import ends, settings_of_ranks, start, start_ranks

TRAININGS = REPOSITORY / "tests" / "helpers" / "trainings"
WATCHED = ["-m", "fwdtrace", "exec", "--on", "nonfinite", "-o", "t.json"]

PLANTED: list[tuple[str, str, int, str, str]] = [
    ("cnn", "backward", 300, "backward", "Tensor.sqrt"),
    ("nanogpt", "forward", 57, "forward", "Tensor.softmax"),
    ("nanogpt --dtype float16", "forward", 44, "overflow", "blocks.0.up (Linear)"),
    ("lstm", "forward", 213, "forward", "/"),
    ("gan", "backward", 99, "backward", "Tensor.sqrt"),
    ("vae", "forward", 250, "forward", "torch.exp"),
    ("ppo", "forward", 64, "forward", "Tensor.log"),
    ("accumulation", "forward", 33, "forward", "/"),
    ("checkpointing", "backward", 49, "backward", "Tensor.sqrt"),
    ("checkpointing --reentrant yes", "backward", 45, "backward", "Tensor.sqrt"),
    ("trainer", "forward", 35, "forward", "/"),
    ("with_lightning", "backward", 32, "backward", "Tensor.sqrt"),
]
"""A program, what is planted in it and at which step, the mark of the line, and what FT005 is to name."""
ALIKE = [
    ("vae", "backward", 31, "backward", "torch.acos"),
    ("nanogpt", "backward", 41, "backward", "Tensor.sqrt"),
    ("checkpointing", "forward", 70, "forward", "/"),
    ("ppo", "backward", 90, "backward", "Tensor.sqrt"),
    ("lstm", "backward", 150, "backward", "**"),
    ("cnn", "forward", 100, "forward", "/"),
    ("nanogpt --dtype bfloat16", "forward", 38, "forward", "Tensor.softmax"),
    ("nanogpt --dtype bfloat16", "backward", 60, "backward", "Tensor.sqrt"),
    ("gan", "forward", 77, "forward", "Tensor.log"),
    ("accumulation", "backward", 120, "backward", "Tensor.sqrt"),
    ("trainer", "backward", 52, "backward", "Tensor.sqrt"),
    ("with_lightning", "forward", 55, "forward", "/"),
]
"""More of these, for the long run."""

IN_RANKS = [("fsdp", 2), ("tensor", 2), ("ddp", 2)]


def printed(processes: Sequence[subprocess.Popen[str]]) -> list[str]:
    """What these processes print, which all have to succeed."""
    outcomes = ends(processes)
    assert [outcome.err for outcome in outcomes if outcome.status != 0] == []
    return [outcome.out for outcome in outcomes]


def marked(mark: str, script: str) -> tuple[str, int]:
    """The file and the number of the line that ends in this mark."""
    file = TRAININGS / ("batches.py" if script in ("trainer", "with_lightning") else f"{script}.py")
    lines = file.read_text(encoding="utf-8").splitlines()
    (line,) = (number for number, text in enumerate(lines, 1) if text.endswith(f"# {mark}"))
    return str(file), line


def explained(trace: Trace) -> list[tuple[str, int, str]]:
    """For each finding of NaN or infinities: its file, its line and its message."""
    found = [finding for finding in trace.findings if finding.code == "FT005"]
    return [(each.site.file, each.site.line, each.message) for each in found if each.site is not None]


@pytest.mark.parametrize(
    ("program", "plant", "at", "mark", "op"),
    [pytest.param(*case, marks=pytest.mark.long if case in ALIKE else pytest.mark.sweep) for case in PLANTED + ALIKE],
)
def test_the_op_and_the_line_are_named_and_the_program_trains_as_it_does_alone(
    program: str, plant: str, at: int, mark: str, op: str, tmp_path: Path
) -> None:
    script, *options = program.split()
    if script == "with_lightning" and importlib.util.find_spec("lightning") is None:
        pytest.skip("lightning is not installed")
    command = [str(TRAININGS / f"{script}.py"), *options, "--plant", plant, "--at", str(at)]
    bare = printed_by(command, tmp_path)
    assert printed([start([*WATCHED, *command], tmp_path)]) == bare
    trace = load_trace(tmp_path / "t.json")
    ((file, line, message),) = explained(trace)
    assert (file, line) == marked(mark, script)
    assert message.startswith(f"the backward of {op} in " if mark == "backward" else f"{op} ")
    assert (trace.run.event, trace.run.replay, trace.run.replay_reason) == ("nonfinite", "exact", None)
    by_step = 2 if script == "ppo" else 1
    assert trace.run.step == at * by_step + 1


@pytest.mark.sweep
def test_a_step_that_a_scaler_skips_is_none(tmp_path: Path) -> None:
    command = [str(TRAININGS / "nanogpt.py"), "--dtype", "float16", "--plant", "backward"]
    bare = printed_by(command, tmp_path)
    assert printed([start([*WATCHED, *command], tmp_path)]) == bare
    assert list(tmp_path.glob("*.json")) == []


@pytest.mark.parametrize(
    ("parallel", "processes"),
    [pytest.param(*case, marks=pytest.mark.sweep) for case in IN_RANKS]
    + [pytest.param(*case, marks=pytest.mark.long) for case in (("ddp", 4), ("fsdp", 4), ("tensor", 4))],
)
def test_what_goes_wrong_on_one_rank_is_explained_there_and_no_rank_waits_for_another(
    parallel: str, processes: int, tmp_path: Path
) -> None:
    program = [str(TRAININGS / "ranks.py"), "--parallel", parallel]
    bare = printed_by(program, tmp_path, settings_of_ranks(processes, tmp_path))
    assert printed(start_ranks(processes, [*WATCHED, *program], tmp_path)) == bare
    for plant, op, number in (
        ("forward", "/ in ", ""),
        ("backward", "Tensor.sqrt in ", ".2"),
        ("forward", "/ in ", ".3"),
    ):
        alone = number == ".3" and parallel == "ddp"  # a call without gradients needs no other rank there
        ranks = [1] if alone else range(processes)
        assert len([*tmp_path.glob(f"t.rank?{number}.json")]) == len(ranks)
        traces = [load_trace(tmp_path / f"t.rank{rank}{number}.json") for rank in ranks]
        assert {(trace.run.event, trace.run.replay, trace.run.step) for trace in traces} == {("nonfinite", "exact", 31)}
        blamed = [(file, line) for trace in traces for file, line, text in explained(trace) if op in text]
        assert blamed == [marked(plant, "ranks")] * (processes if parallel == "tensor" else 1)
