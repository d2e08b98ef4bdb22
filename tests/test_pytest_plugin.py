"""The pytest plugin, judged on test files that pytest runs in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.helpers.commands import HANG

PACKAGE = str(Path(__file__).parents[1])

TEST = """\
import pytest
import torch
from tests.helpers.commands import HANG
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, WIDTH)

    def forward(self, x):
        return self.layerCALL(x)


def test_NAME(assert_forward_contract):
    net = Net()
    assert_forward_contract(net, torch.ones(2, 4), "NAME")
    assert net.training
"""

CONTRACT = """\
model: Net
    <- x: 2×4 float32
    -> 2×3 float32
  layer: Linear
      <- input: 2×4 float32
      -> 2×3 float32
"""


ALONE = {"PYTEST_ADDOPTS": "", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
"""Settings by which pytest loads the plugin that it is told to, by the name of its entry point, and no other."""

MARKED = """\
import pytest
from pathlib import Path


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.no_direct_forward)
"""


@dataclass(frozen=True)
class Runs:
    """What pytest says with `--fwdtrace-update`, and then without it, when there are changed and new files."""

    folder: Path
    updated: tuple[int, str]
    contract: str
    changed: tuple[int, str]

    def section(self, name: str) -> str:
        """The part of the last output that is about one file."""
        begin = self.changed[1].index(f"_ test_{name} _")
        return self.changed[1][begin:].split("\n____", 1)[0]


def write(folder: Path, name: str, *, width: int = 3, call: str = "") -> None:
    """Write a test file with a contract of the same name."""
    source = TEST.replace("WIDTH", str(width)).replace("CALL", call).replace("NAME", name)
    folder.mkdir(exist_ok=True)
    (folder / f"test_{name}.py").write_text(source, encoding="utf-8")


def run(folder: Path, *arguments: str) -> tuple[int, str]:
    """The status and output of pytest over the test files."""
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "fwdtrace", "-p", "no:cacheprovider", "-q", *arguments],
        cwd=folder, capture_output=True, text=True, timeout=HANG,
        env={**os.environ, "PYTHONPATH": PACKAGE, "PYTHONDONTWRITEBYTECODE": "1", **ALONE},
    )  # fmt: skip
    return ran.returncode, ran.stdout


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    folder = tmp_path_factory.mktemp("project")
    for name in ("net", "wide", "entry"):
        write(folder, name)
    write(folder, "direct", call=".forward")
    write(folder / "marked", "strict", call=".forward")
    updated = run(folder, "--fwdtrace-update")
    contract = (folder / "contracts" / "net.txt").read_text(encoding="utf-8")
    write(folder, "wide", width=5)
    write(folder, "entry", call=".forward")
    write(folder, "new")
    (folder / "marked" / "conftest.py").write_text(MARKED, encoding="utf-8")
    return Runs(folder, updated, contract, run(folder, "--strict-markers"))


def test_a_contract_is_written_on_request_and_then_holds(runs: Runs) -> None:
    assert "there is no contract 'new' yet; pytest --fwdtrace-update writes it" in runs.section("new")
    assert runs.updated[0] == 0
    assert runs.contract == CONTRACT
    assert "5 passed" in runs.updated[1] and "_ test_net _" not in runs.changed[1]


def test_a_broken_contract_fails_with_the_lines_that_differ(runs: Runs) -> None:
    assert "-      -> 2×3 float32\n+      -> 2×5 float32\n" in runs.section("wide")
    assert "the forward contract 'wide' does not hold; --fwdtrace-update accepts this run" in runs.section("wide")


def test_the_entry_of_a_call_is_part_of_the_contract(runs: Runs) -> None:
    assert "-  layer: Linear\n+  layer: Linear by forward, without __call__\n" in runs.section("entry")


def test_a_direct_forward_fails_a_test_that_is_marked_and_no_other(runs: Runs) -> None:
    file = runs.folder / "marked" / "test_strict.py"
    line = file.read_text(encoding="utf-8").splitlines().index("        return self.layer.forward(x)") + 1
    assert f"forward ran without __call__:\n  layer at {file}:{line}" in runs.section("strict")
    assert runs.changed[0] == 1 and "4 failed, 2 passed" in runs.changed[1]


def test_a_marked_test_that_takes_no_fixture_fails_as_nothing_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "test_marked.py").write_text(
        "import pytest\n\n\n@pytest.mark.no_direct_forward\ndef test_nothing():\n    pass\n", encoding="utf-8"
    )
    status, out = run(tmp_path, "test_marked.py")
    assert status == 1
    assert "no_direct_forward looks at nothing here: let the test take assert_forward_contract" in out


def test_loading_the_plugin_does_not_import_torch() -> None:
    code = "import sys, fwdtrace.pytest_plugin; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=PACKAGE, check=False).returncode == 0
