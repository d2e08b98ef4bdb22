"""The recorder against the oracle on the modules of torch.nn, with the sample inputs that torch tests them with."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch.utils._pytree import tree_map

from tests.oracle.agreement import Workload, copies, disagreements

pytest.importorskip("expecttest", reason="torch's table of its own modules imports expecttest")

with warnings.catch_warnings():
    # It warns of what else torch's own tests could use.
    warnings.simplefilter("ignore")
    from torch.testing._internal.common_modules import ModuleInfo, module_db

SAMPLES = {True: 3, False: 1}
"""How many samples of a module run in training and in evaluation; the former is the harder one, with a backward."""
WRITTEN_FOR_DOUBLES = ("nn.FractionalMaxPool2d", "nn.FractionalMaxPool3d")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("info", module_db, ids=lambda info: info.name)
def test_a_module_of_torch_is_recorded_as_the_oracle_sees_it(info: ModuleInfo, training: bool) -> None:
    found = {}
    for number, sample in enumerate(samples(info, training)[: SAMPLES[training]]):
        found[number] = disagreements(copies(lambda sample=sample: workload(info, sample), 2), training=training)
    assert found
    assert not any(found.values()), found


def samples(info: ModuleInfo, training: bool) -> list[Any]:
    """Torch's sample constructions and inputs of a module that has a `forward`."""
    dtype = torch.float32 if torch.float32 in info.dtypes and info.name not in WRITTEN_FOR_DOUBLES else info.dtypes[-1]
    made = info.module_inputs_func(info, device="cpu", dtype=dtype, requires_grad=training, training=training)
    return [sample for sample in made if sample.forward_input is not None]


def workload(info: ModuleInfo, sample: Any) -> Workload:
    """The module and arguments of one sample."""
    module = info.module_cls(*sample.constructor_input.args, **sample.constructor_input.kwargs)
    args, kwargs = tree_map(as_leaf, (tuple(sample.forward_input.args), dict(sample.forward_input.kwargs)))
    return module, args, kwargs


def as_leaf(value: Any) -> Any:
    """A tensor that was computed as one that was not, which alone can be copied."""
    computed = isinstance(value, torch.Tensor) and not value.is_leaf
    return value.detach().requires_grad_(value.requires_grad) if computed else value
