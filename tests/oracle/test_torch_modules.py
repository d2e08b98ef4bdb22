"""The recorder against the oracle on the modules of torch.nn, with the sample inputs that torch tests them with."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch.utils._pytree import tree_map

from tests.oracle.agreement import Workload, copies, disagreements

PARTS = 10
"""So many tests have all modules; the table of them takes seconds to import, which only these tests are to cost."""
SAMPLES = {True: 3, False: 1}
"""How many samples of a module run in training and in evaluation; the former is the harder one, with a backward."""
WRITTEN_FOR_DOUBLES = ("nn.FractionalMaxPool2d", "nn.FractionalMaxPool3d")


@pytest.fixture(scope="module")
def modules() -> list[Any]:
    """Torch's table of its own modules."""
    pytest.importorskip("expecttest", reason="torch's table of its own modules imports expecttest")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of what else torch's own tests could use
        from torch.testing._internal.common_modules import module_db

    return module_db


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("part", range(PARTS))
def test_each_module_of_torch_is_recorded_as_the_oracle_sees_it(modules: list[Any], part: int, training: bool) -> None:
    for info in modules[part::PARTS]:
        found = {}
        torch.manual_seed(0)
        for number, sample in enumerate(samples(info, training)[: SAMPLES[training]]):
            found[number] = disagreements(
                copies(lambda info=info, sample=sample: workload(info, sample), 2), training=training
            )
        assert found, info.name
        assert not any(found.values()), (info.name, found)


def samples(info: Any, training: bool) -> list[Any]:
    """Torch's sample constructions and inputs of a module that has a `forward`."""
    dtype = torch.float32 if torch.float32 in info.dtypes and info.name not in WRITTEN_FOR_DOUBLES else info.dtypes[-1]
    made = info.module_inputs_func(info, device="cpu", dtype=dtype, requires_grad=training, training=training)
    return [sample for sample in made if sample.forward_input is not None]


def workload(info: Any, sample: Any) -> Workload:
    """The module and arguments of one sample."""
    module = info.module_cls(*sample.constructor_input.args, **sample.constructor_input.kwargs)
    args, kwargs = tree_map(as_leaf, (tuple(sample.forward_input.args), dict(sample.forward_input.kwargs)))
    return module, args, kwargs


def as_leaf(value: Any) -> Any:
    """A tensor that was computed as one that was not, which alone can be copied."""
    computed = isinstance(value, torch.Tensor) and not value.is_leaf
    return value.detach().requires_grad_(value.requires_grad) if computed else value
