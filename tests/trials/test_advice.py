"""Every fix that is printed works: it is followed on the real model, in all broken models of these tests."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch

from tests.cli.test_broken_models import BROKEN
from tests.helpers import broken_models
from tests.helpers.advice import broken, follow, must_work
from tests.helpers.broken_real_models import CRASHES, Crash
from tests.helpers.cheap_weights import cheap_weights
from tests.trials.table import MENDED


@pytest.mark.parametrize(("name", "input"), [(case[0], case[1]) for case in BROKEN], ids=[case[0] for case in BROKEN])
def test_what_is_advised_for_a_broken_model_can_be_followed(name: str, input: str) -> None:
    case = broken(getattr(broken_models, name)(), input)
    for working in case.working:
        follow(case, working, batch=1 if name == "TakesATuple" else 0)  # its LSTM has the steps first


@pytest.mark.parametrize("name", MENDED)
def test_the_first_advice_is_the_right_one_and_can_be_followed(name: str) -> None:
    build, texts, advice = MENDED[name]
    torch.manual_seed(0)
    case = broken(build(), *texts)
    texts = [fix.text for fix in case.finding.fixes if fix.tried]
    assert [re.sub(r"line \d+", "line N", text) for text in texts] == advice
    for working in case.working:
        follow(case, working)


@pytest.mark.sweep
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("crash", CRASHES, ids=[crash.name for crash in CRASHES])
def test_a_real_model_that_is_broken_in_one_place_is_explained_and_mended(crash: Crash) -> None:
    torch.manual_seed(0)
    with cheap_weights():
        model = crash.build()
    case = broken(model, *crash.inputs, train=crash.train)
    finding = case.finding
    assert finding.call is not None and case.trace.call(finding.call).path == crash.path
    assert finding.site is not None
    assert any(part in finding.site.code for part in crash.code.split("|"))
    assert all(re.search(number, finding.message) for number in crash.numbers)
    texts = [fix.text for fix in finding.fixes if fix.tried]
    assert any(re.search(crash.fix, text) for text in texts) if crash.fix else texts == []
    for working in case.working:
        follow(case, working)


def test_advice_that_does_not_work_fails_the_test_in_which_it_is_printed() -> None:
    case = broken(broken_models.WrongChannels(), "2x3x16x16")
    working = case.working[0]
    must_work(case.trace, case.model, case.inputs, working)
    with pytest.raises(AssertionError):
        must_work(case.trace, case.model, case.inputs, replace(working, outputs=((3, 32, 12, 12),)))
    useless = replace(working, proposal=replace(working.proposal, changes=()))
    with pytest.raises(RuntimeError, match="to have 16 channels"):
        must_work(case.trace, case.model, case.inputs, useless)
