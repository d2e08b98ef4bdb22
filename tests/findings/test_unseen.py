"""FT007 and FT010 on traces written by hand."""

from __future__ import annotations

from dataclasses import replace

from fwdtrace.findings import find
from fwdtrace.trace import Call, Finding, Site
from tests.helpers.traces import trace

SITE = Site("net.py", 31, "Net.forward", "x = self.f5(x)")
ROOT = Call(0, None, 0, "", "Net", 1, "__call__")
LAYER = Call(1, 0, 1, "f5", "Linear", 1, "__call__", site=SITE)


def found(*calls: Call) -> tuple[Finding, ...]:
    return find(trace(*calls))


def test_a_compiled_call_says_what_is_not_shown() -> None:
    (finding,) = found(replace(ROOT, opaque="compiled"))
    assert finding.code == "FT007" and "the calls inside it are not shown" in finding.message


def test_an_unregistered_module_with_parameters_is_loud_and_one_without_is_not() -> None:
    hidden = replace(LAYER, path=None, parameters=20)
    (finding,) = found(ROOT, hidden)
    assert finding.code == "FT010" and "a Linear with 20 parameters ran but is not registered" in finding.message
    assert found(ROOT, replace(hidden, parameters=0)) == ()


def test_unregistered_modules_of_one_line_are_counted_as_the_modules_that_they_are() -> None:
    hidden = replace(LAYER, path=None, parameters=20)
    (finding,) = found(ROOT, hidden, replace(hidden, id=2), replace(hidden, id=3, nth=2))
    assert finding.message == (
        "2 modules of Linear with 40 parameters in all ran but are not registered: no optimizer, state_dict or .to()"
        " will see them; put them into an nn.ModuleList"
    )


def test_what_an_unregistered_module_calls_is_no_further_finding() -> None:
    outer = replace(LAYER, path=None, parameters=20)
    assert len(found(ROOT, outer, replace(outer, id=2, parent=1, depth=2))) == 1


def test_a_call_that_is_opaque_for_a_reason_of_a_later_version_is_a_finding_all_the_same() -> None:
    (finding,) = found(replace(ROOT, opaque="accelerated"))
    assert finding.message == "the model (Net) could not be seen into: the calls inside it are not shown"
