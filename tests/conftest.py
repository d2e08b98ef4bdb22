"""Every test runs seeded on one thread, and every test proves that no hook, wrapper or patch is left behind."""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Iterator

import pytest
import torch

from tests.helpers import footprint
from tests.helpers.commands import command, folder, restored_signals  # noqa: F401  (fixtures of the command line)
from tests.torchvision_shim import sitecustomize  # noqa: F401  (imported for what it installs)


def pytest_configure() -> None:
    """Keep torch to one thread, as the tests are small; keep transformers quiet and off the network; heed Ctrl-C.

    Who runs the tests in the background has them ignore it, and the programs that they interrupt would inherit that.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    torch.set_num_threads(1)
    os.environ |= {"TRANSFORMERS_VERBOSITY": "error", "HF_HUB_OFFLINE": "1"}


@pytest.fixture(scope="session")
def dynamo() -> None:
    """Compile once: the first compilation in a process changes nn.Module itself, which is not our doing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.compile(torch.nn.ReLU(), backend="eager")(torch.ones(1))


@pytest.fixture(autouse=True)
def seeded() -> None:
    """The same random numbers for every test, in whatever order they run."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Fail the test after which something process-wide is not as it was."""
    before = footprint.of_the_process()
    yield
    left = footprint.changes(before, footprint.of_the_process())
    assert not left, f"left behind: {', '.join(left[:10])}"
