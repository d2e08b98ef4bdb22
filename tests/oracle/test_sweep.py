"""Real models of torchvision, timm and transformers against the oracle: minutes, so not part of the default run."""

from __future__ import annotations

import pytest

from tests.helpers import real_models
from tests.helpers.families import FAMILIES
from tests.helpers.shares import one_in
from tests.oracle.agreement import copies, differences_in_both_modes, disagreements

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("name", one_in(9, real_models.MODELS))
def test_a_real_model_is_recorded_as_the_oracle_sees_it_and_no_option_changes_its_results(name: str) -> None:
    assert differences_in_both_modes(real_models.MODELS[name]) == {}


@pytest.mark.parametrize("name", one_in(12, [name for name in FAMILIES if name not in real_models.MODELS]))
def test_a_model_of_every_family_is_recorded_as_the_oracle_sees_it(name: str) -> None:
    assert disagreements(copies(FAMILIES[name], 2), training=False) == []


def test_there_are_enough_real_models_of_every_library() -> None:
    count = dict.fromkeys(("torchvision", "timm", "transformers"), 0)
    for name in real_models.MODELS:
        count[name.split(":")[0]] += 1
    assert min(count.values()) >= 20


def test_every_family_of_every_library_is_there() -> None:
    count = {library: sum(name.startswith(library) for name in FAMILIES) for library in ("torch", "timm", "transf")}
    assert count["torch"] >= 80
    assert count["timm"] >= 150
    assert count["transf"] >= 100
