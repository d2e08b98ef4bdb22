"""Hooks of well-known mechanisms are known by their names, and all hooks are named in plain words."""

from __future__ import annotations

import pytest

from fwdtrace.trace import Hook
from fwdtrace.trace.mechanisms import kind_in_words, mechanism_name, mechanism_of, short_name


@pytest.mark.parametrize(
    ("kind", "hook", "mechanism"),
    [
        ("forward_pre", "torch.nn.utils.weight_norm.WeightNorm", "weight_norm"),
        ("forward_pre", "torch.nn.utils.prune.L1Unstructured", "prune"),
        ("forward", "transformers.utils.output_capturing.capture", "transformers' output capture"),
        ("call_override", "torch.nn.parallel.distributed.DistributedDataParallel", "DistributedDataParallel"),
        ("compiled", "", "module.compile()"),
        ("forward", "my_project.keep_features", None),
    ],
)
def test_a_mechanism_is_known_by_its_hook_and_a_hook_of_the_user_is_none(
    kind: str, hook: str, mechanism: str | None
) -> None:
    assert mechanism_name(kind, hook) == mechanism


def test_a_mechanism_says_what_skipping_it_does_and_what_to_do() -> None:
    found = mechanism_of(Hook("forward_pre", "torch.nn.utils.prune.L1Unstructured", fired=False))
    assert found is not None
    assert "weight may be stale" in found.when_skipped
    assert "torch.nn.utils.prune.remove" in found.remedy


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("forward", "forward hook"),
        ("full_backward_pre", "full backward pre-hook"),
        ("call_override", "__call__ of its own"),
        ("forward_always_call", "always-called forward hook"),
    ],
)
def test_the_kind_of_a_hook_is_said_as_people_say_it(kind: str, words: str) -> None:
    assert kind_in_words(kind) == words


def test_a_short_name_is_the_last_part_and_two_parts_where_that_is_call() -> None:
    assert [short_name(name) for name in ("a.b.<locals>.keep", "a.Hook.__call__")] == ["keep", "Hook.__call__"]
