"""Every fix that is printed works: it is followed on the real model, in all broken models of these tests."""

from __future__ import annotations

import re

import pytest
import torch

from tests.cli.test_broken_models import BROKEN
from tests.helpers import broken_models
from tests.helpers.advice import broken, follow
from tests.helpers.broken_real_models import CRASHES, Crash
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
    case = broken(crash.build(), *crash.inputs, train=crash.train)
    finding = case.finding
    assert finding.call is not None and case.trace.call(finding.call).path == crash.path
    assert finding.site is not None
    assert any(part in finding.site.code for part in crash.code.split("|"))
    assert all(re.search(number, finding.message) for number in crash.numbers)
    texts = [fix.text for fix in finding.fixes if fix.tried]
    assert any(re.search(crash.fix, text) for text in texts) if crash.fix else texts == []
    for working in case.working:
        follow(case, working)
