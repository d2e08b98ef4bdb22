"""`--map OLD=NEW` turns the names of one model into those of another, and what cannot be read is refused."""

from __future__ import annotations

import pytest

from fwdtrace.compare.names import Renames, renamed
from fwdtrace.errors import FwdtraceError


def test_the_map_that_says_most_of_a_name_holds() -> None:
    names = renamed({"layer.3.attn.q": 1, "layer.3.mlp": 2, "layers": 3}, ["layer.{i}=b{i}", "layer.{i}.attn=x.{i}.y"])
    assert names == {"x.3.y.q": 1, "b3.mlp": 2, "layers": 3}


def test_a_map_holds_for_whole_parts_of_a_name_and_what_is_below_them() -> None:
    rename = Renames(["layer.{i}.attn=blocks.{i}"])
    names = ["layer.3.attn", "layer.3.attn.q.weight", "layer.3.attention", "my.layer.3.attn", ""]
    assert [rename(name) for name in names] == ["blocks.3", "blocks.3.q.weight", *names[2:]]


@pytest.mark.parametrize("text", ["a", "=b", "a=", "a.{i}=b.{j}", "a.{i}.{i}=b.{i}"])
def test_a_map_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(FwdtraceError, match="--map"):
        renamed({}, [text])
