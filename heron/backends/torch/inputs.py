"""A step's small arrays on the device, in one buffer: one copy from the host a step, whatever the number of arrays.

A buffer is laid out by the shapes of what is in it, so that two steps of the same shapes can share one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from math import prod
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from heron.backends.batch import Batch
from heron.graph.graph import Group

Ints = NDArray[np.int32]
Buffer = TypeVar("Buffer", Ints, Tensor)

#: Integers that each array's begin is a multiple of: 16 bytes, which loads of vectors need.
ALIGNMENT = 4


def arrays(batch: Batch, groups: Mapping[str, Group]) -> dict[str, Ints]:
    """What a step sends, by name: the batch's own arrays, and what follows from them."""
    of, places = batch.sequence_of(), batch.places()
    names = ("tokens", "positions", "query_start", "context_len", "rows", "cross_len", "slot_read", "slot_write", "slot_offset")
    found = {name: getattr(batch, name) for name in names} | {"sequence_of": of, "places": places}
    if not len(batch.cross_len):
        found["cross_len"] = np.zeros(batch.sequences, np.int32)
    found["chained_from"] = np.full_like(of, -1) if batch.chained is None else batch.chained_from
    for name, group in groups.items():
        table = batch.tables.get(name, batch.cross.get(name))
        if table is None:  # of slots, or not this entry's
            continue
        start, size = batch.table_start.get(name, np.zeros(batch.sequences, np.int32)), group.block_size
        found |= {f"table {name}": table, f"start {name}": start}
        if group.kind == "token":
            found[f"own {name}"] = table[of, places // size - start[of]] * size + places % size
    return found


@dataclass(frozen=True)
class Layout:
    """Where each array lies in the buffer: begin and shape, in integers."""

    places: Mapping[str, tuple[int, tuple[int, ...]]]
    size: int

    @staticmethod
    def of(shapes: Mapping[str, tuple[int, ...]]) -> Layout:
        sizes = [-(-prod(shape) // ALIGNMENT) * ALIGNMENT for shape in shapes.values()]
        begins = accumulate(sizes, initial=0)
        return Layout({name: (begin, shape) for (name, shape), begin in zip(shapes.items(), begins, strict=False)}, sum(sizes))

    def view(self, buffer: Buffer, name: str) -> Buffer:
        """The array's part of a buffer."""
        begin, shape = self.places[name]
        part: Buffer = buffer[begin : begin + prod(shape)].reshape(shape)
        return part


class Inputs:
    """The arrays of a step as tensors of int32, views of one buffer on the device. Groups are named: ``own("full")``.

    The buffer can be filled again by arrays that are no larger in any direction: ``rest`` stays around them, as padding.
    """

    def __init__(self, rest: Mapping[str, NDArray[np.int32]], device: torch.device) -> None:
        self._layout = Layout.of({name: array.shape for name, array in rest.items()})
        self._rest = np.zeros(self._layout.size, np.int32)
        for name, array in rest.items():
            self._layout.view(self._rest, name)[...] = array
        self.buffer = torch.empty(self._layout.size, dtype=torch.int32, device=device)
        self._views = {name: self._layout.view(self.buffer, name) for name in rest}
        self.fill({})

    def fill(self, found: Mapping[str, Ints]) -> None:
        """Send the arrays, in one copy. The host goes on: torch lets pinned memory be used again when it has been read."""
        host = torch.empty(self._layout.size, dtype=torch.int32, device="cpu", pin_memory=self.buffer.device.type == "cuda")
        numbers: Ints = host.numpy()
        numbers[...] = self._rest
        for name, array in found.items():
            self._layout.view(numbers, name)[tuple(map(slice, array.shape))] = array
        self.buffer.copy_(host, non_blocking=True)

    def chain(self, sampled: Tensor) -> None:
        """Put the tokens in that an earlier step sampled, int32 [its rows]."""
        row = self["chained_from"]
        self.tokens.copy_(torch.where(row >= 0, sampled[row.clamp(min=0)], self.tokens))

    def __getitem__(self, name: str) -> Tensor:
        return self._views[name]

    @property
    def tokens(self) -> Tensor:
        """[T] token ids."""
        return self["tokens"]

    @property
    def positions(self) -> Tensor:
        """[P, T]"""
        return self["positions"]

    @property
    def query_start(self) -> Tensor:
        """[S + 1] where each sequence's tokens begin; the last is T."""
        return self["query_start"]

    @property
    def context_len(self) -> Tensor:
        """[S] tokens of each sequence, those of this step included."""
        return self["context_len"]

    @property
    def rows(self) -> Tensor:
        """[R] the tokens whose logits are wanted."""
        return self["rows"]

    @property
    def sequence_of(self) -> Tensor:
        """[T] the sequence of each token."""
        return self["sequence_of"]

    @property
    def places(self) -> Tensor:
        """[T] each token's place in its sequence."""
        return self["places"]

    @property
    def slot_read(self) -> Tensor:
        """[S] the slot that each sequence resumes from; 0: it begins."""
        return self["slot_read"]

    @property
    def slot_write(self) -> Tensor:
        """[S, J] the slots that receive its state ..."""
        return self["slot_write"]

    @property
    def slot_offset(self) -> Tensor:
        """[S, J] ... after this many of its tokens."""
        return self["slot_offset"]

    def table(self, group: str) -> Tensor:
        """[S, B] block ids."""
        return self[f"table {group}"]

    def table_start(self, group: str) -> Tensor:
        """[S] the place of a table's first block, in blocks."""
        return self[f"start {group}"]

    def own(self, group: str) -> Tensor:
        """[T] where in the group's states the tokens of this step are stored: block times its size, plus the place in it."""
        return self[f"own {group}"]
