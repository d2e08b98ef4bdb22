"""In which line of a backward that the user has written finite numbers became NaN or infinite."""

from __future__ import annotations

from sys import _getframe
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakIdKeyDictionary

from fwdtrace.recorder.describe import tensors_of
from fwdtrace.recorder.frames import NOWHERE, Position, frame_role, from_torch, position_outside_torch, site_at
from fwdtrace.recorder.measures.functions import is_query, name_of_op
from fwdtrace.recorder.measures.values import is_finite
from fwdtrace.recorder.torch_internals import backward_of, pop_function_mode, push_function_mode, top_function_mode
from fwdtrace.trace import Site

Made = tuple[str, Position]
"""The function that made numbers that are not finite, and where it was called."""


class UsersBackward(TorchFunctionMode):
    """Follows what is not finite through one run of a backward, as long as it is on; holds no tensor."""

    def __init__(self) -> None:
        super().__init__()
        self._made: WeakIdKeyDictionary = WeakIdKeyDictionary()
        self._latest: Made | None = None

    @frame_role("stand-in")
    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the function, and note whether it made or passed on what is not finite."""
        given = [each for each in tensors_of((args, kwargs)) if not is_finite(each)] if not is_query(function) else None
        result = function(*args, **(kwargs or {}))
        if given is None:
            return result
        spoiled = [each for each in tensors_of(result) if not is_finite(each)]
        if not spoiled:
            return result
        made = next((self._made[each] for each in given if each in self._made), None)
        if made is None and not given:
            position = position_outside_torch(_getframe(1), NOWHERE)
            made = self._latest = name_of_op(function, position), position
        for each in spoiled if made is not None else ():
            self._made[each] = made
        return result

    def maker_of(self, gradient: Any) -> tuple[str, Site] | None:
        """The function that made a gradient not finite that backward has given, and its line; None if not known."""
        known = isinstance(gradient, Tensor) and gradient in self._made
        made = self._made[gradient] if known else self._latest
        return None if made is None or made[1] is NOWHERE else (made[0], site_at(made[1]))


def follow(node: Any) -> UsersBackward | None:
    """Follow the node of the graph that is about to run, if its backward is the user's own."""
    code = backward_of(node)
    if code is None or from_torch(code):
        return None
    followed = UsersBackward()
    push_function_mode(followed)
    return followed


def follow_no_more(followed: UsersBackward) -> None:
    """The node has run: torch has put things in order already if it raised."""
    if top_function_mode() is followed:
        pop_function_mode()
