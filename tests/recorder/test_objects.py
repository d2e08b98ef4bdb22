"""The tensors in opaque objects: what is found again by the layout of the last one is what a new search would find."""

from __future__ import annotations

from typing import Any

import torch

from fwdtrace.recorder.describe import walk
from fwdtrace.recorder.leaves import LeafTable
from fwdtrace.recorder.objects import ObjectReader


class Layer:
    def __init__(self, keys: Any = None) -> None:
        self.keys = keys
        self.length = 0


class Cache:
    def __init__(self, *layers: Any) -> None:
        self.layers = list(layers)


def test_an_object_that_has_changed_is_described_as_by_a_new_search() -> None:
    reader = ObjectReader()
    cache = Cache(Layer(torch.ones(1)), Layer())
    looped = Cache(Layer(torch.ones(1)), cache)
    for change in (
        lambda: None,
        lambda: setattr(cache.layers[0], "keys", torch.ones(2)),  # another tensor in the same place
        lambda: setattr(cache.layers[1], "keys", torch.ones(3)),  # a tensor where there was none
        lambda: setattr(cache.layers[0], "more", torch.ones(4)),  # an attribute more
        lambda: cache.layers.append(Layer(torch.ones(5))),
        lambda: cache.layers.append({"state": torch.ones(6)}),
        lambda: cache.layers.append(looped),
        lambda: cache.layers.extend(Layer(torch.ones(7)) for _ in range(9)),  # more than are described
        lambda: cache.layers.clear(),
    ):
        change()
        for _ in range(2):
            assert reader.leaves_in(cache, "past") == ObjectReader().leaves_in(cache, "past")
            output = {"past": cache, "both": (cache, looped)}
            assert list(walk(output, "", (), reader)) == list(walk(output, ""))
    assert reader.leaves_in(cache, "past") == [("past", "Cache(…)")]


def test_arguments_with_an_object_among_them_are_described_as_by_a_table_that_has_seen_none() -> None:
    table, cache, x = LeafTable(), Cache(Layer(torch.ones(1)), Layer()), torch.ones(2, 3)
    for change in (
        lambda: None,
        lambda: setattr(cache.layers[0], "keys", torch.ones(1, 2)),
        lambda: setattr(cache.layers[0], "keys", torch.ones(1)),  # as at first
        lambda: cache.layers.extend(Layer(torch.ones(size, dtype=torch.int8)) for size in range(9)),
        lambda: setattr(cache.layers[3], "keys", torch.ones(1, requires_grad=True)),
        lambda: cache.layers.append(Cache(Layer(torch.ones(7)))),
        lambda: cache.layers.clear(),
    ):
        change()
        for args, kwargs in (((x, cache), {"mask": None}), ((x,), {"past": cache, "sizes": (2, 3)}), ((cache, x), {})):
            for _ in range(2):
                assert table.of_inputs(args, kwargs) == LeafTable().of_inputs(args, kwargs)
                assert table.of_output(args) == LeafTable().of_output(args)
                output = {"x": x, "sizes": ((), [2.5, (None, "a")], x), **kwargs}
                assert table.of_output(output) == LeafTable().of_output(output)
                found = [(leaf.name, getattr(leaf, "value", None)) for leaf in table.of_output(output)]
                assert found == [(n, None if isinstance(p, torch.Tensor) else p) for n, p in walk(output, "")]


def test_objects_of_one_class_that_are_built_differently_are_told_apart() -> None:
    reader = ObjectReader()
    one, two = Cache(Layer(torch.ones(1))), Cache(Layer(), torch.ones(2))
    for _ in range(2):
        assert [name for name, _ in reader.leaves_in(one, "past")] == ["past.layers[0].keys"]
        assert [name for name, _ in reader.leaves_in(two, "past")] == ["past.layers[1]"]
        assert [name for name, _ in reader.leaves_in(two, "other")] == ["other.layers[1]"]
