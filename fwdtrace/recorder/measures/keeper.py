"""The numbers of tensors, kept while a model runs: whole as far as memory is given, else a digest and statistics."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fwdtrace.recorder.describe import unseen_tensors_of
from fwdtrace.recorder.measures.values import has_values, stats_of, version_of
from fwdtrace.recorder.notes import OpenCall, OpenOp
from fwdtrace.recorder.torch_internals import Unseen, mesh_of, offset_of, part_here, placed
from fwdtrace.trace import Stats
from fwdtrace.trace.digests import digest_of_bytes


@dataclass(frozen=True)
class Placed:
    """How a DTensor of this whole shape is placed on a mesh, and where on it this rank is.

    `offset` is where the part on this rank begins in the whole, if it is one block of it.
    """

    placements: tuple[str, ...]
    shape: tuple[int, ...]
    mesh: tuple[int, ...]
    at: tuple[int, ...]
    offset: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Kept:
    """One tensor as it was, of a DTensor the part on this rank.

    A copy of it, or its digest and statistics where a copy is too much, or all of these.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    tensor: Tensor | None = None
    digest: bytes = b""
    stats: Stats | None = None
    placed: Placed | None = None


Sides = tuple[tuple[Kept | None, ...], tuple[Kept | None, ...]]
"""The tensors that went into a call and those that came out; None for one without values."""


class Keeper:
    """The measure that keeps the numbers of every call of one recording, in copies of at most `max_bytes` together.

    With `fingerprints`, every tensor has its digest and statistics, whether it is copied or not.
    """

    def __init__(self, max_bytes: int, *, fingerprints: bool = False) -> None:
        self.left = max_bytes
        self.digests = 0
        self.by_id: dict[int, Sides] = {}
        """What was kept, by the id that each call has in the finished trace; empty until the recording has ended."""
        self._fingerprints = fingerprints
        self._inputs: dict[OpenCall, tuple[Kept | None, ...]] = {}
        self._outputs: dict[OpenCall, tuple[Kept | None, ...]] = {}
        self._known: dict[int, tuple[weakref.ref[Tensor], int, Kept | None]] = {}

    def begins(self, call: OpenCall | OpenOp, args: Any, kwargs: Any) -> None:
        """Keep what goes into a call."""
        if type(call) is OpenCall:
            self._inputs[call] = tuple(map(self._kept, (*unseen_tensors_of(args), *unseen_tensors_of(kwargs))))

    def ends(self, call: OpenCall | OpenOp, output: Any) -> None:
        """Keep what comes out of it."""
        if type(call) is OpenCall:
            self._outputs[call] = tuple(map(self._kept, unseen_tensors_of(output)))

    def stop(self) -> None:
        """Keep no more."""
        self._known.clear()
        self._inputs.clear()
        self._outputs.clear()

    def number(self, ids: Mapping[Any, int]) -> None:
        """File what was kept under the ids that the calls have in the finished trace."""
        self.by_id = {
            ids[call]: (inputs, self._outputs.get(call, ())) for call, inputs in self._inputs.items() if call in ids
        }

    def _kept(self, tensor: Tensor) -> Kept | None:
        # The output of one call is the input of the next: one copy is enough for both.
        version = version_of(tensor)
        known = self._known.get(id(tensor))
        if known is not None and known[0]() is tensor and known[1] == version >= 0:
            return known[2]
        kept = self._new(tensor)
        self._known[id(tensor)] = weakref.ref(tensor), version, kept
        return kept

    def _new(self, tensor: Tensor) -> Kept | None:
        try:
            with Unseen():
                if not has_values(tensor):
                    return None
                place, tensor = placed_as(tensor), part_here(tensor)
                size = tensor.numel() * tensor.element_size()
                shape, copy = tuple(tensor.shape), tensor.detach().clone() if size <= self.left else None
                if copy is not None:
                    self.left -= size
                    if not self._fingerprints:
                        return Kept(shape, tensor.dtype, copy, placed=place)
                else:
                    self.digests += 1
                return Kept(shape, tensor.dtype, copy, digest_of(tensor), stats_of(tensor), place)
        except (RuntimeError, NotImplementedError):  # a layout or subclass that does not copy: nothing is known of it
            return None


def placed_as(tensor: Tensor) -> Placed | None:
    """How a DTensor is placed; None for any other tensor."""
    mesh = mesh_of(tensor)
    if mesh is None:
        return None
    return Placed(placed(tensor)[0], tuple(tensor.shape), *mesh, offset_of(tensor))


def digest_of(tensor: Tensor) -> bytes:
    """The digest of the elements of a dense tensor, bit for bit."""
    plain = tensor.detach().resolve_conj().resolve_neg().cpu().contiguous()
    if type(plain) is not Tensor and type(plain) is not nn.Parameter:
        plain = plain.clone()  # of one that awaits a collective, the clone is what comes of it
    return digest_in_memory(plain)


def digest_in_memory(plain: Tensor) -> bytes:
    """The digest of a tensor that has its elements one after the other in the memory of the host."""
    size = plain.numel() * plain.element_size()
    if size and not plain.data_ptr():
        raise RuntimeError("the numbers are in other tensors")
    # Without numpy there is no other way to the bytes that copies nothing.
    data = (ctypes.c_char * size).from_address(plain.data_ptr()) if size else b""
    return digest_of_bytes(data)
