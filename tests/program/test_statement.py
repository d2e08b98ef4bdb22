"""Which expressions of a program may be run again: those that do nothing but compute."""

from __future__ import annotations

import ast

import pytest
import torch
import torch.multiprocessing as mp
from torch import nn

from fwdtrace.program.statement import Namespace

VALUES = {
    "torch": torch,
    "F": nn.functional,
    "mp": mp,
    "net": nn.Linear(2, 2),
    "x": torch.ones(2),
    "batches": [torch.ones(2)],
    "made": (each for each in [torch.ones(2)]),
}


@pytest.mark.parametrize(
    ("expression", "computes"),
    [
        ("torch.cat([net(x), F.relu(x)]) @ x.view(2)", True),
        ("torch.linalg.norm(torch.fft.fft(x)) + torch.ops.aten.add(x, len(batches))", True),
        ("torch.func.functional_call(net, dict(net.named_parameters()), x)", True),
        ("batches.index(x)", True),
        ("mp.spawn(net, (x,), nprocs=2)", False),
        ("torch.multiprocessing.Process(target=net)", False),
        ("torch.hub.load('a', 'b')", False),
        ("torch.jit.script(net)", False),
        ("torch.save(x, 'x.pt')", False),
        ("torch.autograd.backward(x)", False),
        ("torch.ops._c10d_functional.all_reduce(x)", False),
        ("torch.cat(batches.pop())", False),
        ("torch.cat(made.send(None))", False),
    ],
)
def test_an_expression_is_run_again_only_if_all_that_it_calls_is_known_to_compute(
    expression: str, computes: bool
) -> None:
    assert Namespace(VALUES).only_computes(ast.parse(expression, mode="eval").body) == computes
