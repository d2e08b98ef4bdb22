"""The numbers of a run that are put together of those of many, each when it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from fwdtrace.trace import Call
from fwdtrace.trace.digests import digest_of_bytes

Make = Callable[[], Any]


class AssembledValues:
    """The numbers of a run that were put together of those of many; each is made when it is asked for."""

    def __init__(self) -> None:
        self._makes: list[Make | None] = []
        self._abouts: list[dict[str, Any]] = []
        self.calls: dict[int, tuple[list[int | None], list[int | None]]] = {}

    def add(self, make: Make, shape: list[int], dtype: str) -> int:
        """Another tensor by what makes its elements; its number."""
        self._makes.append(make)
        self._abouts.append({"shape": shape, "dtype": dtype, "stats": None})
        return len(self._makes) - 1

    def add_known(self, shape: list[int], dtype: str, digest: str | None) -> int:
        """Another tensor of whose elements there is at most the digest; its number."""
        self._makes.append(None)
        self._abouts.append({"shape": shape, "dtype": dtype, "stats": None, "digest": digest})
        return len(self._makes) - 1

    def side(self, call: Call, side: Literal["inputs", "outputs"]) -> list[int | None]:
        """The tensors on one side of a call."""
        return self.calls.get(call.id, ([], []))[side == "outputs"]

    def about(self, number: int) -> dict[str, Any]:
        """Shape, dtype and digest of a tensor; the digest is None if it is not known."""
        about, make = self._abouts[number], self._makes[number]
        if "digest" not in about and make is not None:
            about["digest"] = digest_of_bytes(make().tobytes()).hex()
        return about

    def array(self, number: int) -> Any:
        """The elements, flat; None if they are not known."""
        make = self._makes[number]
        return None if make is None else make().reshape(-1)
