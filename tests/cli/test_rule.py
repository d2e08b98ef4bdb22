"""The rule command prints what a finding means, an example that has it, and the fix."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fwdtrace.findings.explained import RULES, Rule
from tests.helpers.commands import Command


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)
@pytest.mark.filterwarnings("ignore")  # torch.jit is deprecated
def test_the_example_has_the_finding_and_no_other(command: Command, folder: Path, rule: Rule) -> None:
    (folder / "model.py").write_text(rule.example, encoding="utf-8")
    ran = command("run", "model.py:Net", *rule.options.split(), "--json")
    codes = {finding["code"] for finding in json.loads(ran.out)["findings"]}
    assert codes == ({"FT001", rule.code} if rule.code == "FT002" else {rule.code})


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)
def test_the_command_prints_meaning_example_and_fix(command: Command, rule: Rule) -> None:
    ran = command("rule", rule.code)
    assert ran.status == 0 and ran.err == ""
    assert ran.out.startswith(f"{rule.code} {rule.name}\n\n")
    assert all(f"    {line}".rstrip() in ran.out for line in rule.example.splitlines())
    assert "\nFix: " in ran.out
    assert max(map(len, ran.out.splitlines())) <= 80


def test_a_rule_is_found_by_its_name_and_in_small_letters(command: Command) -> None:
    assert command("rule", "direct-forward").out == command("rule", "ft001").out == command("rule", "FT001").out


def test_without_a_code_all_are_listed(command: Command) -> None:
    lines = command("rule").out.splitlines()
    assert lines == [f"{rule.code}  {rule.name}" for rule in RULES]


def test_an_unknown_code_is_refused_with_those_that_are_known(command: Command) -> None:
    ran = command("rule", "FT999")
    assert ran.status == 2 and ran.out == ""
    assert ran.err.startswith("fwdtrace: there is no finding 'FT999'; there are FT001 (direct-forward), ")


def test_explaining_needs_no_torch() -> None:
    code = "import sys; from fwdtrace.cli.rule import rule; rule('FT001'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL).returncode == 0
