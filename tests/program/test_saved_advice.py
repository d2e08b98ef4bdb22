"""What `exec` advises in a process of its own works: each fix that it saved is followed on the program's model."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from fwdtrace import load_trace
from fwdtrace.findings.forward_error.changes import proposal_text
from fwdtrace.models.spec import Inputs
from fwdtrace.trials.search import Working
from tests.helpers.advice import Broken, follow, must_work
from tests.helpers.commands import finish, start

START = "import torch\nfrom torch import nn\n"
END = "\nif __name__ == '__main__':\n    net(*inputs)\n"
PROGRAMS = {
    "layers": """
net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(5, 2)).eval()
inputs = (torch.randn(3, 4),)
""",
    "op": """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4 * 36, 2)
    def forward(self, x):
        return self.fc(torch.flatten(self.conv(x)))
net = Net().eval()
inputs = (torch.randn(5, 3, 8, 8),)
""",
    "heads": """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.q, self.k, self.v, self.o = nn.Linear(12, 32), nn.Linear(12, 32), nn.Linear(12, 24), nn.Linear(32, 2)
    def forward(self, x):
        q, k, v = (layer(x).view(*x.shape[:2], -1, 8).transpose(1, 2) for layer in (self.q, self.k, self.v))
        return self.o(nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
net = Net().eval()
inputs = (torch.randn(3, 5, 12),)
""",
    "dtype": """
net = nn.Sequential(nn.Linear(4, 6), nn.Sequential(nn.Linear(6, 6), nn.LayerNorm(6)).double(), nn.Linear(6, 2)).eval()
inputs = (torch.randn(3, 4),)
""",
    "loss": """
net = nn.BCEWithLogitsLoss()
inputs = torch.randn(4, 1), torch.tensor([1, 0, 1, 0])
""",
}


@pytest.mark.sweep
@pytest.mark.parametrize("kind", PROGRAMS)
def test_each_fix_that_a_program_is_advised_works_on_its_model(kind: str, tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(START + PROGRAMS[kind] + END, encoding="utf-8")
    ran = finish(start("exec", "-o", str(tmp_path / "t.json"), str(script)))
    (saved,) = tmp_path.glob("*.json")
    trace, program = load_trace(saved), imported(script)
    fixes = [fix for finding in trace.findings for fix in finding.fixes if fix.tried]
    assert ran.status == 1 and fixes
    shown = " ".join(ran.err.split())
    case = Broken(program.net, Inputs(program.inputs, {}), trace)
    found = {proposal_text(each.proposal): each.proposal for each in case.working}
    for fix in fixes:
        assert f"{fix.text} (tried: the model then gives" in shown
        working = Working(found[fix.text], fix.outputs)
        must_work(trace, case.model, case.inputs, working)
        if kind != "loss":
            follow(case, working)


def imported(script: Path) -> ModuleType:
    """The program as a module, whose model is built and not called."""
    spec = importlib.util.spec_from_file_location("program", script)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
