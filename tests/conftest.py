"""Every test that may run torch is seeded, on one thread, and proves that no hook, wrapper or patch is left behind.

Every fix that is printed in one of them, by run, by exec or by record, is followed on the real model.

The tests of the rooms that never import torch run without it, in seconds; so nothing here imports it by itself.
"""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.helpers import deadlines  # noqa: F401  (imported for what it installs)
from tests.helpers.commands import command, folder, restored_signals  # noqa: F401  (fixtures of the command line)
from tests.torchvision_shim import sitecustomize  # noqa: F401  (imported for what it installs)

if TYPE_CHECKING:
    from tests.helpers.footprint import Picture

TESTS = Path(__file__).parent
ROOMS_WITHOUT_TORCH = ("trace", "render", "findings")


def pytest_configure() -> None:
    """Keep transformers quiet and off the network, and each process to one thread; heed Ctrl-C.

    Who runs the tests in the background has them ignore it, and the programs that they interrupt would inherit that.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ |= {"TRANSFORMERS_VERBOSITY": "error", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Run neighbours in one process as far as that keeps all busy: what several tests share is then made once."""
    if config.getoption("dist") != "load":
        return None
    from xdist.scheduler import WorkStealingScheduling

    return WorkStealingScheduling(config, log)


@pytest.fixture(autouse=True)
def with_torch_as_it_was(request: pytest.FixtureRequest) -> None:
    """Seed and check every test but those of the rooms without torch."""
    if request.path.relative_to(TESTS).parts[0] not in ROOMS_WITHOUT_TORCH:
        for name in ("one_thread", "seeded", "nothing_left_behind", "advice_that_works"):
            request.getfixturevalue(name)


@pytest.fixture(scope="session")
def one_thread() -> None:
    """Keep torch to one thread, as the tests are small."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture
def seeded() -> None:
    """The same random numbers for every test, in whatever order they run."""
    import torch

    torch.default_generator.manual_seed(0)  # torch.manual_seed takes 1 ms, to note who asked for it


LAST: list[Picture] = []
"""The picture of the process after the last test, which is the one before the next, unless a fixture came between."""


@pytest.fixture
def nothing_left_behind() -> Iterator[None]:
    """Fail the test after which something process-wide is not as it was."""
    from tests.helpers import footprint

    before = LAST.pop() if LAST else footprint.of_the_process()
    yield
    LAST[:] = [footprint.of_the_process(before)]
    left = footprint.changes(before, LAST[0])
    assert not left, f"left behind: {', '.join(left[:10])}"


def pytest_fixture_setup(fixturedef: pytest.FixtureDef[object]) -> None:
    """Forget the last picture when a fixture of several tests begins: what that changes is no test's doing."""
    if fixturedef.scope != "function":
        LAST.clear()


def pytest_fixture_post_finalizer(fixturedef: pytest.FixtureDef[object]) -> None:
    """Forget the last picture also when such a fixture ends."""
    if fixturedef.scope != "function":
        LAST.clear()


@pytest.fixture
def advice_that_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail the test in which a fix is printed that does not work on the real model, on the CPU."""
    from tests.helpers.advice import follow_all

    follow_all(monkeypatch)


@pytest.fixture(scope="session")
def dynamo() -> None:
    """Compile once: the first compilation in a process changes nn.Module itself, which is not our doing."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.compile(torch.nn.ReLU(), backend="eager")(torch.ones(1))
