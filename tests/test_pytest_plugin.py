"""The pytest plugin, judged on test files that pytest runs in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PACKAGE = str(Path(__file__).parents[1])

TEST = """\
import pytest
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, WIDTH)

    def forward(self, x):
        return self.layerCALL(x)


def test_net(assert_forward_contract):
    net = Net()
    assert_forward_contract(net, torch.ones(2, 4), "net")
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


def run(folder: Path, *arguments: str, width: int = 3, call: str = "") -> tuple[int, str]:
    """The status and output of pytest over the test file."""
    source = TEST.replace("WIDTH", str(width)).replace("CALL", call)
    (folder / "test_net.py").write_text(source, encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "fwdtrace", "-p", "no:cacheprovider", "-q", *arguments],
        cwd=folder, capture_output=True, text=True, timeout=120,
        env={**os.environ, "PYTHONPATH": PACKAGE, "PYTHONDONTWRITEBYTECODE": "1", **ALONE},
    )  # fmt: skip
    return ran.returncode, ran.stdout


def test_a_contract_is_written_on_request_and_then_holds(tmp_path: Path) -> None:
    status, out = run(tmp_path)
    assert status == 1
    assert "there is no contract 'net' yet; pytest --fwdtrace-update writes it" in out
    assert run(tmp_path, "--fwdtrace-update")[0] == 0
    assert (tmp_path / "contracts" / "net.txt").read_text(encoding="utf-8") == CONTRACT
    assert run(tmp_path)[0] == 0


def test_a_broken_contract_fails_with_the_lines_that_differ(tmp_path: Path) -> None:
    run(tmp_path, "--fwdtrace-update")
    status, out = run(tmp_path, width=5)
    assert status == 1
    assert "-      -> 2×3 float32\n+      -> 2×5 float32\n" in out
    assert "the forward contract 'net' does not hold; --fwdtrace-update accepts this run" in out


def test_the_entry_of_a_call_is_part_of_the_contract(tmp_path: Path) -> None:
    run(tmp_path, "--fwdtrace-update")
    status, out = run(tmp_path, call=".forward")
    assert status == 1
    assert "-  layer: Linear\n+  layer: Linear by forward, without __call__\n" in out


def test_a_direct_forward_fails_a_test_that_is_marked(tmp_path: Path) -> None:
    call = ".forward"
    run(tmp_path, "--fwdtrace-update", call=call)
    assert run(tmp_path, call=call)[0] == 0
    source = (tmp_path / "test_net.py").read_text(encoding="utf-8")
    (tmp_path / "conftest.py").write_text(
        "import pytest\ndef pytest_collection_modifyitems(items):\n"
        "    for item in items:\n        item.add_marker(pytest.mark.no_direct_forward)\n",
        encoding="utf-8",
    )
    status, out = run(tmp_path, "--strict-markers", call=call)
    assert status == 1
    line = source.splitlines().index("        return self.layer.forward(x)") + 1
    assert f"forward ran without __call__:\n  layer at {tmp_path / 'test_net.py'}:{line}" in out


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
