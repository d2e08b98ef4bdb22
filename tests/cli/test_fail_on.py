"""`--fail-on` ends a command with status 1, and shows findings where GitHub shows them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from fwdtrace.cli.fail_on import _annotation
from fwdtrace.findings.explained import RULES
from fwdtrace.trace import Finding, Site
from tests.helpers.commands import REPOSITORY, Command


def test_a_direct_call_is_named_and_can_fail_the_command(command: Command) -> None:
    ran = command("run", "lenet-direct", "--fail-on", "FT001,FT010")
    assert ran.status == 1
    assert "FT001" in ran.out
    assert ran.err == "fwdtrace: failing as --fail-on asks: FT001\n"
    assert command("run", "lenet-direct", "--fail-on", "any").status == 1
    assert command("run", "lenet-direct").status == 0
    assert command("run", "lenet", "--fail-on", "any").status == 0


def test_the_codes_that_can_be_asked_for_are_those_that_findings_have() -> None:
    files = (REPOSITORY / "fwdtrace" / "findings").rglob("*.py")
    source = "".join(file.read_text(encoding="utf-8") for file in files)
    found = re.findall(r'Finding\(\s*"(FT\d+)",\s*"([a-z-]+)"', source)
    assert sorted(set(found)) == sorted((rule.code, rule.name) for rule in RULES)


def test_in_a_workflow_of_github_a_finding_that_fails_is_shown_at_its_line(
    command: Command, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "net.py").write_text(
        "from torch import nn\n\nclass Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.a = nn.Conv2d(3, 1, 1)\n\n    def forward(self, x):\n        return self.a.forward(x)\n"
    )
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(folder))
    ran = command("run", "net.py:Net", "--fail-on", "FT001", "--json")
    assert ran.status == 1
    assert ran.err.splitlines()[0] == (
        "::error title=FT001 direct-forward,file=net.py,line=9::a.forward ran without __call__; "
        "no hook was registered there, so nothing was skipped this time; call a(…) instead"
    )
    assert "::" not in ran.out.partition("findings")[0] and json.loads(ran.out)
    assert "::" not in command("run", "net.py:Net", "--fail-on", "FT005").err


def test_an_annotation_keeps_what_would_end_it() -> None:
    finding = Finding("FT006", "forward-error", None, "50%\nof it", Site("/a,b:c.py", 3, "f", ""))
    assert _annotation(finding) == "::error title=FT006 forward-error,file=/a%2Cb%3Ac.py,line=3::50%25%0Aof it"
