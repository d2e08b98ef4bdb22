"""The same model from two libraries: equal with all weights moved, each as a conversion by hand moves it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fwdtrace.compare.two_models.light_copy import tensors_of
from fwdtrace.compare.weights.weight_values import values_of
from fwdtrace.models.inputs import build_inputs
from fwdtrace.run.two import TwoRunsPlan, TwoRunsResult, compare_two
from tests.helpers.pairs import PAIRS, Pair


def compared(pair: Pair) -> TwoRunsResult:
    specs = [f"{build.__module__}:{build.__name__}" for build in (pair.first, pair.second)]
    return compare_two(TwoRunsPlan(*specs, inputs=tuple(pair.shape.split(",")), same_init=True))


def results(model: torch.nn.Module, args: tuple[Tensor, ...]) -> Tensor:
    with torch.no_grad():
        found = model(*args)
    for name in ("logits", "last_hidden_state"):
        found = getattr(found, name, found)
    return found.double()  # type: ignore[no-any-return]


@pytest.mark.sweep
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", PAIRS)
def test_a_model_of_two_libraries_is_equal_with_all_weights_moved_as_by_hand(name: str) -> None:
    pair = PAIRS[name]
    first, second = pair.first().double().eval(), pair.second().double().eval()
    by_hand = pair.convert(dict(tensors_of(first)))
    told = second.load_state_dict(by_hand, strict=False)
    assert not told.unexpected_keys
    given = build_inputs(tuple(pair.shape.split(",")), first, 0)
    args = tuple(each.double() if each.is_floating_point() else each for each in (*given.args, *given.kwargs.values()))
    one, two = results(first, args), results(second, args)
    assert float((one - two).abs().max()) < 1e-6 * float(one.abs().max())  # so the conversion by hand is right

    found = compared(pair).comparison
    assert found.equal, found.verdict
    assert found.weights is not None and not found.weights.left and not found.weights.ambiguous
    shapes = {target: tensor.shape for target, tensor in second.state_dict().items()}
    moved = values_of(found.weights.moves, dict(tensors_of(first)), shapes)
    wrong = [target for target in by_hand if not torch.equal(moved[target], by_hand[target])]
    assert not wrong
