"""The version of a tensor is read quickly by what it is like, and right in every mode of inference."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from fwdtrace.recorder.alike import LIKE_NOTHING, NO_VERSION, Alike, version_like, version_of


def plain() -> Tensor:
    with torch.inference_mode(False):
        tensor = torch.ones(2)
        tensor.add_(1)
        return tensor


def of_inference() -> Tensor:
    with torch.inference_mode():
        return torch.ones(2).add_(1)


@pytest.mark.parametrize("example", [plain, of_inference])
@pytest.mark.parametrize("mode_of_example", [True, False])
@pytest.mark.parametrize("mode", [True, False])
def test_what_is_like_an_example_has_its_own_version(
    example: Callable[[], Tensor], mode_of_example: bool, mode: bool
) -> None:
    with torch.inference_mode(mode_of_example):
        like = Alike((), (), example())
    with torch.inference_mode(mode):
        for tensor, version in ((plain(), 1), (of_inference(), NO_VERSION)):
            if like.accepts(tensor):
                assert version_like(tensor, like) == version_of(tensor) == version


def test_a_version_is_not_read_where_that_would_run_code_of_the_users() -> None:
    class Own(Tensor):
        @classmethod
        def __torch_function__(cls, *args: object, **kwargs: object) -> object:
            raise AssertionError("somebody looked")

    assert version_of(torch.ones(2).as_subclass(Own)) == NO_VERSION


def test_nothing_is_like_nothing() -> None:
    assert not LIKE_NOTHING.accepts(torch.ones(2)) and not LIKE_NOTHING.has_version
