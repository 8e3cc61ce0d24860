"""Planes: a quantized matrix whose blocks are taken apart, so that a GPU reads it in wide, aligned pieces.

A block of 18, 34 or 210 bytes starts anywhere, and then a thread can load a byte or two at a time. So the fields of all blocks are
gathered, each in a tensor of its own, rows one after another and blocks in their order: Q4_0's 18 bytes become 16 of ``qs``, which start
at multiples of 16, and 2 of ``d``. Not a byte is added or changed, and ``joined`` gives the blocks back.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from heron.backends.torch.triton.launch import usable
from heron.quant.formats import Format

#: What a plane is read as, by the bytes of a field, where kernels want more than one at a time: packed scales are taken apart by shifts.
_WORDS: dict[tuple[str, str], torch.dtype] = {
    ("Q2_K", "scales"): torch.int64,
    ("Q3_K", "scales"): torch.int32,
    ("Q4_K", "scales"): torch.int32,
    ("Q5_K", "scales"): torch.int32,
    ("Q6_K", "scales"): torch.int64,
    ("IQ4_XS", "scales_l"): torch.int32,
}

#: Torch's name of a field's type; torch computes little with unsigned words, whose bits are the same.
_TYPES = {"<f2": torch.float16, "<f4": torch.float32, "|i1": torch.int8, "|u1": torch.uint8, "<u2": torch.int16, "<u4": torch.int32}


@dataclass(frozen=True)
class Field:
    """Where a field lies in a block, and what its plane's elements are."""

    offset: int
    bytes: int
    dtype: torch.dtype


def fields(format: Format) -> tuple[Field, ...]:
    """The format's fields in their order: one for each plane."""
    assert format.layout.fields is not None and format.layout.names is not None
    found = []
    for name in format.layout.names:
        kind, offset = format.layout.fields[name][:2]
        dtype = _WORDS.get((format.name, name)) or _TYPES[np.dtype(kind).base.str]
        found.append(Field(offset, kind.itemsize, dtype))
    return tuple(found)


@dataclass(frozen=True)
class Planes:
    """A matrix, or a stack of them: a tensor [..., out, elements] for each field of ``format``, of ``width`` numbers a row."""

    format: Format
    width: int
    tensors: tuple[Tensor, ...]
    dtype: ClassVar[torch.dtype] = torch.uint8  #: bytes, as blocks are, which do not train
    requires_grad: ClassVar[bool] = False

    @classmethod
    def empty(cls, format: Format, shape: tuple[int, ...], device: torch.device | str = "cpu") -> Planes:
        """Room for a matrix of ``shape`` [..., out, in]."""
        blocks = shape[-1] // format.block
        made = (torch.empty(*shape[:-1], blocks * f.bytes // f.dtype.itemsize, dtype=f.dtype, device=device) for f in fields(format))
        return cls(format, shape[-1], tuple(made))

    @classmethod
    def apart(cls, format: Format, raw: Tensor) -> Planes:
        """Rows of blocks, uint8 [..., row bytes], taken apart."""
        planes = cls.empty(format, (*raw.shape[:-1], raw.shape[-1] // format.bytes * format.block), raw.device)
        planes[:] = raw
        return planes

    def __setitem__(self, rows: slice, raw: Tensor) -> None:
        """Store blocks, uint8 [rows, row bytes], as rows of the first axis; they are taken apart on the device."""
        blocks = raw.to(self.device).unflatten(-1, (-1, self.format.bytes))
        for f, plane in zip(fields(self.format), self.tensors, strict=True):
            plane[rows].view(torch.uint8).copy_(blocks[..., f.offset : f.offset + f.bytes].flatten(-2))

    def joined(self) -> Tensor:
        """The rows as blocks again: uint8 [..., row bytes]."""
        parts = [p.view(torch.uint8).unflatten(-1, (-1, f.bytes)) for f, p in zip(fields(self.format), self.tensors, strict=True)]
        return torch.cat(parts, -1).flatten(-2)

    def __getitem__(self, index: int | slice | Tensor) -> Planes:
        """What an index of the first axis takes: rows, or matrices of a stack."""
        return Planes(self.format, self.width, tuple(plane[index] for plane in self.tensors))

    def __len__(self) -> int:
        return len(self.tensors[0])

    def split(self, rows: int) -> list[Planes]:
        """Pieces of so many rows or fewer."""
        return [self[start : start + rows] for start in range(0, len(self), rows)]

    def unbind(self) -> list[Planes]:
        """The matrices of a stack."""
        return [self[i] for i in range(len(self))]

    def of(self, shape: tuple[int, ...]) -> Planes:
        """The same rows in a stack of ``shape`` [..., out, in]."""
        return Planes(self.format, self.width, tuple(plane.reshape(*shape[:-1], -1) for plane in self.tensors))

    @property
    def shape(self) -> tuple[int, ...]:
        """[..., out, in]."""
        return (*self.tensors[0].shape[:-1], self.width)

    @property
    def device(self) -> torch.device:
        return self.tensors[0].device

    @property
    def nbytes(self) -> int:
        return sum(plane.nbytes for plane in self.tensors)


def planar(device: torch.device) -> Collection[str]:
    """The formats that the device's kernels read as planes: none where there are no such kernels."""
    if not usable(device):
        return ()
    from heron.backends.torch.triton.tiles import TILES

    return TILES
