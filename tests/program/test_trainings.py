"""`fwdtrace exec --on nonfinite` on programs that train, each with NaN or an overflow planted at some step."""

from __future__ import annotations

import importlib.util
import itertools
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

Planted = tuple[str, str, int, str, str]
"""A program, what is planted in it and at which step, the mark of the line, and what FT005 is to name."""

TOGETHER: list[Planted] = [
    ("cnn", "backward", 50, "backward", "Tensor.sqrt"),
    ("nanogpt", "forward", 57, "forward", "Tensor.softmax"),
    ("nanogpt --dtype float16", "forward", 44, "overflow", "blocks.0.up (Linear)"),
    ("lstm", "forward", 33, "forward", "/"),
    ("gan", "backward", 39, "backward", "Tensor.sqrt"),
    ("vae", "forward", 250, "forward", "torch.exp"),
    ("ppo", "forward", 34, "forward", "Tensor.log"),
    ("accumulation", "forward", 33, "forward", "/"),
    ("checkpointing", "backward", 49, "backward", "Tensor.sqrt"),
    ("checkpointing --reentrant yes", "backward", 45, "backward", "Tensor.sqrt"),
]
"""In the sweep they train one after another in one process: each explains its own."""
OF_FRAMEWORKS: list[Planted] = [
    ("trainer", "forward", 35, "forward", "/"),
    ("with_lightning", "backward", 32, "backward", "Tensor.sqrt"),
]
ALONE: list[Planted] = [
    *TOGETHER,
    ("cnn", "backward", 300, "backward", "Tensor.sqrt"),
    ("lstm", "forward", 213, "forward", "/"),
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
"""More of these, each in a process of its own, for the long run."""
SKIPPED_STEP = "nanogpt --dtype float16 --plant backward"
"""A scaler skips this step, so it is none that trains, and nothing is kept of it."""

IN_RANKS = [("tensor fsdp ddp", 2)]
IN_MORE_RANKS = [*itertools.product(("ddp", "fsdp", "tensor"), (2, 4))]


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


def argument(planted: Planted) -> str:
    """A program and its options."""
    program, plant, at, *_ = planted
    return f"{program} --plant {plant} --at {at}"


def assert_names_what_was_planted(file: Path, planted: Planted) -> None:
    program, _, at, mark, op = planted
    script = program.split()[0]
    trace = load_trace(file)
    ((source, line, message),) = explained(trace)
    assert (source, line) == marked(mark, script)
    assert message.startswith(f"the backward of {op} in " if mark == "backward" else f"{op} ")
    assert (trace.run.event, trace.run.replay, trace.run.replay_reason) == ("nonfinite", "exact", None)
    by_step = 2 if script == "ppo" else 1
    assert trace.run.step == at * by_step + 1


def trained(folder: Path, *arguments: str) -> list[Path]:
    """Train by these programs, bare and watched, which print the same; the files that are kept, in order."""
    if any(each.startswith("with_lightning") for each in arguments) and not importlib.util.find_spec("lightning"):
        pytest.skip("lightning is not installed")
    command = [str(TRAININGS / "together.py"), *arguments]
    if len(arguments) == 1:
        script, *options = arguments[0].split()
        command = [str(TRAININGS / f"{script}.py"), *options]
    bare = printed_by(command, folder)
    assert printed([start([*WATCHED, *command], folder)]) == bare
    return sorted(folder.glob("*.json"), key=lambda file: int(file.name.split(".")[-2].replace("t", "1")))


@pytest.mark.parametrize(
    "planted",
    [pytest.param(planted, marks=pytest.mark.sweep, id=planted[0]) for planted in OF_FRAMEWORKS]
    + [pytest.param(planted, marks=pytest.mark.long, id=argument(planted)) for planted in ALONE],
)
def test_the_op_and_the_line_are_named_and_the_program_trains_as_it_does_alone(
    planted: Planted, tmp_path: Path
) -> None:
    (file,) = trained(tmp_path, argument(planted))
    assert_names_what_was_planted(file, planted)


@pytest.mark.sweep
def test_programs_one_after_another_are_each_named_their_own_op_and_line(tmp_path: Path) -> None:
    files = trained(tmp_path, SKIPPED_STEP, *map(argument, TOGETHER))
    assert len(files) == len(TOGETHER)
    for file, planted in zip(files, TOGETHER, strict=True):
        assert_names_what_was_planted(file, planted)


@pytest.mark.long
def test_a_step_that_a_scaler_skips_is_none(tmp_path: Path) -> None:
    assert trained(tmp_path, SKIPPED_STEP) == []


@pytest.mark.parametrize(
    ("parallel", "processes"),
    [pytest.param(*case, marks=pytest.mark.sweep) for case in IN_RANKS]
    + [pytest.param(*case, marks=pytest.mark.long) for case in IN_MORE_RANKS],
)
def test_what_goes_wrong_on_one_rank_is_explained_there_and_no_rank_waits_for_another(
    parallel: str, processes: int, tmp_path: Path
) -> None:
    program = [str(TRAININGS / "ranks.py"), "--parallel", parallel]
    bare = printed_by(program, tmp_path, settings_of_ranks(processes, tmp_path))
    assert printed(start_ranks(processes, [*WATCHED, *program], tmp_path)) == bare
    planted = (("forward", "/ in "), ("backward", "Tensor.sqrt in "), ("forward", "/ in "))
    for event, (way, (plant, op)) in enumerate(itertools.product(parallel.split(), planted), 1):
        number = "" if event == 1 else f".{event}"
        # DDP, the last: a call without gradients needs no other rank there
        ranks = [1] if way == "ddp" and event % 3 == 0 else range(processes)
        assert len([*tmp_path.glob(f"t.rank?{number}.json")]) == len(ranks)
        traces = [load_trace(tmp_path / f"t.rank{rank}{number}.json") for rank in ranks]
        assert {(trace.run.event, trace.run.replay, trace.run.step) for trace in traces} == {("nonfinite", "exact", 31)}
        blamed = [(file, line) for trace in traces for file, line, text in explained(trace) if op in text]
        assert blamed == [marked(plant, "ranks")] * (processes if way == "tensor" else 1)
