"""Real models of torchvision, timm and transformers against the oracle: minutes, so not part of the default run."""

from __future__ import annotations

import pytest

from tests.helpers import real_models
from tests.helpers.families import FAMILIES
from tests.oracle.agreement import differences_with_all_options, disagreements

pytestmark = [pytest.mark.sweep, pytest.mark.filterwarnings("ignore")]

both_modes = pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])


@both_modes
@pytest.mark.parametrize("name", real_models.MODELS)
def test_a_real_model_is_recorded_as_the_oracle_sees_it(name: str, training: bool) -> None:
    assert disagreements(real_models.MODELS[name], training=training) == []


@both_modes
@pytest.mark.parametrize("name", real_models.MODELS)
def test_everything_recorded_of_a_real_model_leaves_its_results_as_they_are(name: str, training: bool) -> None:
    assert differences_with_all_options(real_models.MODELS[name], training=training) == []


@pytest.mark.parametrize("name", FAMILIES)
def test_a_model_of_every_family_is_recorded_as_the_oracle_sees_it(name: str) -> None:
    assert disagreements(FAMILIES[name], training=False) == []


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
