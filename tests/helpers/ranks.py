"""Processes that are the ranks of one program: they meet in a file, as those of a launcher meet at a port."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.helpers.commands import CHILDS_PATH, HANG, Outcome


def start(arguments: Sequence[str], folder: Path, **settings: str) -> subprocess.Popen[str]:
    """Start Python with these arguments and further environment variables in a folder."""
    path = os.pathsep.join(filter(None, [CHILDS_PATH, os.environ.get("PYTHONPATH", "")]))
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"} | settings,
    )


def start_ranks(number: int, arguments: Sequence[str], folder: Path) -> list[subprocess.Popen[str]]:
    """Start so many processes."""
    return [start(arguments, folder, **settings) for settings in settings_of_ranks(number, folder)]


def settings_of_ranks(number: int, folder: Path) -> list[dict[str, str]]:
    """The environment of each of so many ranks; `MEETING` is what it is to give to `init_process_group`."""
    meeting = folder / "meeting"
    meeting.unlink(missing_ok=True)
    return [
        {
            **{"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(number)},
            "MEETING": f"{meeting.as_uri()}?rank={rank}&world_size={number}",
        }
        for rank in range(number)
    ]


def ends(processes: Sequence[subprocess.Popen[str]]) -> list[Outcome]:
    """How these processes end and what they print; if one does not end, none goes on."""
    try:
        said = [process.communicate(timeout=2 * HANG) for process in processes]
    finally:
        for process in processes:
            process.terminate()  # so that a launcher ends its ranks, which are no children of ours
        for process in processes:
            _end(process)
    return [Outcome(process.returncode, *texts) for process, texts in zip(processes, said, strict=True)]


def _end(process: subprocess.Popen[str]) -> None:
    try:
        process.wait(timeout=HANG)
    except subprocess.TimeoutExpired:
        process.kill()
