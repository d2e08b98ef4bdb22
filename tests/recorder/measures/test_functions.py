"""What is known of torch's functions, against what torch itself declares of its operations."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fwdtrace.recorder.measures.functions import ONLY_READS, SILENT


def test_no_method_that_is_said_only_to_read_is_declared_by_torch_to_write() -> None:
    declared = {
        method.__name__: [
            argument.name
            for schema in torch._C._jit_get_schemas_for_operator(f"aten::{method.__name__}")
            for argument in schema.arguments
            if not argument.kwarg_only and argument.alias_info is not None and argument.alias_info.is_write
            if isinstance(argument.type, torch.TensorType)  # `aten::sort` is also what sorts a list of numbers
        ]
        for method in ONLY_READS
    }
    assert {name: written for name, written in declared.items() if written} == {}
    assert len(declared) > 300


@pytest.mark.parametrize("name", ["add", "view", "__add__", "__getitem__"])
def test_what_most_models_run_is_known_only_to_read(name: str) -> None:
    assert getattr(Tensor, name) in ONLY_READS


@pytest.mark.parametrize("name", ["add_", "__iadd__", "__setitem__", "copy_", "__ior__", "index_put_", "set_"])
def test_what_writes_is_not(name: str) -> None:
    assert getattr(Tensor, name) not in ONLY_READS


def test_what_takes_numbers_out_of_a_graph_is_no_silent_query() -> None:
    assert Tensor.item not in SILENT
    assert Tensor.size in SILENT
    assert Tensor.shape.__get__ in SILENT  # type: ignore[attr-defined]
