"""Every finding is explained."""

from __future__ import annotations

from fwdtrace.findings.explained import RULES
from fwdtrace.findings.rules import RULE_FUNCTIONS


def test_codes_are_in_order_and_no_two_are_the_same() -> None:
    codes = [rule.code for rule in RULES]
    assert codes == sorted(set(codes))


def test_every_rule_of_the_findings_is_explained() -> None:
    documented = {rule.__doc__.partition(":")[0] for rule in RULE_FUNCTIONS if rule.__doc__}
    assert documented == {rule.code for rule in RULES}
