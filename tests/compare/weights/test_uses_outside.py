"""A weight that is used without a call of its module is not taken for that of the next module which is like it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from fwdtrace.compare.two_models.recorded import Runnable
from fwdtrace.compare.weights.lively import draw_lively
from fwdtrace.compare.weights.settled import run_copy
from fwdtrace.compare.weights.units import units_of
from fwdtrace.compare.weights.uses_outside import forms_outside
from fwdtrace.compare.weights.weights import copy_weights

Run = Callable[["Model", Tensor], Tensor]


class Model(nn.Module):
    """Two of each kind of layer, so that one of each may be taken for the other."""

    def __init__(self, names: str, run: Run) -> None:
        super().__init__()
        kinds = (
            lambda: nn.Embedding(6, 4),
            lambda: nn.LayerNorm(4),
            lambda: nn.Linear(4, 4),
            lambda: nn.Conv1d(5, 5, 3, padding=1),
        )
        for place, kind in enumerate(kinds):
            for number in range(2):
                setattr(self, names[2 * place + number], kind())
        self.names, self.run = names, run

    def forward(self, ids: Tensor) -> Tensor:
        return self.run(self, ids)

    def __getitem__(self, place: int) -> nn.Module:
        return self.get_submodule(self.names[place])


def by_modules(m: Model, ids: Tensor) -> Tensor:
    x = m[5](m[3](m[4](m[2](m[0](ids) + m[1](ids // 2))).tanh())).tanh()
    return m[7](m[6](x).tanh())  # type: ignore[no-any-return]


def by_functions_at_first(m: Model, ids: Tensor) -> Tensor:
    x = functional.embedding(ids, m[0].weight) + m[1](ids // 2)  # type: ignore[arg-type]
    x = functional.layer_norm(x, (4,), m[2].weight, m[2].bias)  # type: ignore[arg-type]
    x = m[3](functional.linear(x, m[4].weight, m[4].bias).tanh())  # type: ignore[arg-type]
    x = functional.conv1d(m[5](x).tanh(), m[6].weight, m[6].bias, padding=1)  # type: ignore[arg-type]
    return m[7](x.tanh())  # type: ignore[no-any-return]


def by_matrices_turned_around(m: Model, ids: Tensor) -> Tensor:
    x = m[2](m[0].weight[ids] + m[1](ids // 2)) @ m[4].weight.mT + m[4].bias  # type: ignore[index, operator]
    x = m[5](m[3](x.tanh())).tanh()
    return m[7](m[6](x).tanh())  # type: ignore[no-any-return]


def twice(m: Model, ids: Tensor) -> Tensor:
    x = m[0](ids) + m[1](ids)
    return m[5](m[4](x).tanh()) + m[4](x * 2)  # type: ignore[no-any-return]


def twice_and_once_by_a_function(m: Model, ids: Tensor) -> Tensor:
    x = m[0](ids) + m[1](ids)
    first = functional.linear(x, m[4].weight, m[4].bias)  # type: ignore[arg-type]
    return m[5](first.tanh()) + m[4](x * 2)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("runs", "used"),
    [
        ((by_modules, by_functions_at_first), range(8)),
        ((by_functions_at_first, by_modules), range(8)),
        ((by_modules, by_matrices_turned_around), range(8)),
        ((twice, twice_and_once_by_a_function), (0, 1, 4, 5)),
        ((twice_and_once_by_a_function, twice), (0, 1, 4, 5)),
    ],
)
def test_each_weight_comes_of_where_it_is_used_the_same(runs: tuple[Run, Run], used: range | tuple[int, ...]) -> None:
    torch.manual_seed(0)
    first, second = Model("abcdefgh", runs[0]).eval(), Model("stuvwxyz", runs[1]).eval()
    ids = torch.tensor([[1, 5, 3, 4, 0]])
    draw_lively(first, 0)
    moves = copy_weights(Runnable(first, (ids,), {}), Runnable(second, (ids,), {})).moves
    came_of = {move.target: move.pieces[0].name for move in moves}
    wanted = {
        f"{second.names[place]}.{name}": f"{first.names[place]}.{name}"
        for place in used
        for name, _ in first[place].named_parameters()
    }
    assert {name: came_of.get(name) for name in wanted} == wanted
    assert torch.allclose(first(ids), second(ids), atol=1e-5)


def test_weights_used_by_their_modules_alone_are_not_used_outside() -> None:
    for run, forms in ((by_modules, set()), (twice_and_once_by_a_function, {(False, (4, 4)), (True, (4,))})):
        model = Model("abcdefgh", run).eval()
        recorded = run_copy(Runnable(model, (torch.tensor([[1, 5, 3, 4, 0]]),), {}), 0, ops=True)
        assert forms_outside(recorded.trace, units_of(recorded, model), model.state_dict()) == forms


def with_another_function(m: Model, ids: Tensor) -> Tensor:
    x = m[2](m[0](ids) + m[1](ids // 2))
    x = m[5](m[3](functional.linear(x, m[4].weight, m[4].bias).tanh())).relu()  # type: ignore[arg-type]
    x = functional.conv1d(x, m[6].weight, m[6].bias, padding=1)  # type: ignore[arg-type]
    return m[7](x.tanh())  # type: ignore[no-any-return]


def test_what_comes_after_a_bug_and_could_be_another_weight_is_not_called_proved() -> None:
    torch.manual_seed(0)
    first, second = Model("abcdefgh", by_modules).eval(), Model("stuvwxyz", with_another_function).eval()
    ids = torch.tensor([[1, 5, 3, 4, 0]])
    draw_lively(first, 0)
    found = copy_weights(Runnable(first, (ids,), {}), Runnable(second, (ids,), {}))
    assert found.ambiguous == ("y.bias", "y.weight", "z.bias", "z.weight")
    assert {move.target for move in found.moves if move.proof == "run"}.isdisjoint(found.ambiguous)
