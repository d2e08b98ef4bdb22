"""FT001 and FT002 on traces written by hand."""

from __future__ import annotations

from dataclasses import replace

from fwdtrace.findings import find
from fwdtrace.trace import Call, Finding, Hook, Site
from tests.helpers.traces import trace

SITE = Site("net.py", 31, "Net.forward", "x = self.f5.forward(x)")
ROOT = Call(0, None, 0, "", "Net", 1, "__call__")
DIRECT = Call(1, 0, 1, "f5", "Linear", 1, "forward", site=SITE)
WEIGHT_NORM = Hook("forward_pre", "torch.nn.utils.weight_norm.WeightNorm", False)


def found(*calls: Call) -> tuple[Finding, ...]:
    return find(trace(*calls))


def test_a_direct_call_without_hooks_says_that_nothing_was_skipped_this_time() -> None:
    message = (
        "f5.forward ran without __call__; no hook was registered there, so nothing was skipped this time;"
        " call f5(…) instead"
    )
    assert found(ROOT, DIRECT) == (Finding("FT001", "direct-forward", 1, message, SITE),)


def test_a_direct_call_names_the_hooks_it_skipped() -> None:
    hooks = (
        Hook("forward_pre", "app.scale", False),
        Hook("forward", "app.Net.__init__.<locals>.<lambda>", False),
        Hook("forward", "app.keep", False),
    )
    (finding,) = found(ROOT, replace(DIRECT, hooks=hooks))
    assert finding.message == (
        "f5.forward ran without __call__; skipped 1 forward pre-hook, 2 forward hooks (scale, <lambda>, keep);"
        " call f5(…) instead"
    )


def test_a_direct_call_of_the_root_is_written_as_code() -> None:
    (finding,) = found(replace(ROOT, entry="forward"))
    assert finding.message == (
        "model.forward ran without __call__; no hook was registered there, so nothing was skipped this time;"
        " call model(…) instead"
    )


def test_direct_calls_of_one_line_are_one_finding_with_their_number() -> None:
    (finding,) = found(ROOT, DIRECT, replace(DIRECT, id=2, nth=2))
    assert finding.message.startswith("f5.forward ran without __call__ twice;")


def test_direct_calls_from_two_lines_are_two_findings() -> None:
    assert len(found(ROOT, DIRECT, replace(DIRECT, id=2, nth=2, site=replace(SITE, line=40)))) == 2


def test_a_skipped_weight_norm_is_named_with_what_follows_and_a_way_out() -> None:
    direct, stale = found(ROOT, replace(DIRECT, hooks=(WEIGHT_NORM,)))
    assert direct.code == "FT001"
    assert (stale.code, stale.name, stale.call, stale.site) == ("FT002", "stale-or-skipped", 1, SITE)
    assert stale.message.startswith("weight_norm on f5 did not act:")
    assert "parametrizations.weight_norm" in stale.message


def test_a_weight_norm_that_fired_is_no_finding() -> None:
    assert found(ROOT, replace(DIRECT, entry="__call__", hooks=(replace(WEIGHT_NORM, fired=True),))) == ()
