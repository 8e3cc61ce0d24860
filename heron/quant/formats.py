"""Every number format that a tensor can have: its id, its block, and what lies where in a block.

A format is data. `layout` is a numpy dtype for one block as a little-endian file stores it; reading a field by
name, the block's size and the swapping of bytes for a big-endian file all follow from it.

Formats with an id below 0 are Heron's own, and in no GGUF file: quantized HF checkpoints are rewritten into them, exactly, as they
are read (heron/checkpoint/quantized).

Source: the GGUF specification's table of types and ggml's published block layouts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heron.errors import CheckpointError


@dataclass(frozen=True)
class Format:
    """One format: `block` elements are stored together in `bytes` bytes, arranged as `layout` says.

    `id` is GGUF's number of the type; below 0 for formats that GGUF files do not have.
    """

    name: str
    id: int
    block: int
    layout: np.dtype[Any]

    @property
    def bytes(self) -> int:
        """Bytes per block."""
        return self.layout.itemsize

    @property
    def plain(self) -> bool:
        """Whether each element stands by itself, so that rows may be cut and transposed anywhere."""
        return self.block == 1

    @property
    def in_gguf(self) -> bool:
        """Whether GGUF files can hold it."""
        return self.id >= 0

    def row_bytes(self, n: int) -> int:
        """Bytes of a row of `n` elements. Raises CheckpointError when `n` is not a whole number of blocks."""
        if n % self.block:
            raise CheckpointError(f"a row of {n} elements cannot be {self.name}, whose blocks hold {self.block} elements each")
        return n // self.block * self.bytes

    def swapped(self, raw: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A copy of `raw` [..., row_bytes] with the bytes of every field of every block in the other order."""
        return np.ascontiguousarray(raw).view(self.layout).byteswap().view(np.uint8)

    def __repr__(self) -> str:
        return self.name


def _format(id: int, name: str, block: int, *fields: tuple[Any, ...] | str) -> Format:
    plain = len(fields) == 1 and isinstance(fields[0], str)
    return Format(name, id, block, np.dtype(fields[0] if plain else list(fields)))


# Fields: d scale, m or dmin minimum, s sum, qs (ql) low bits, qh high bits, scales per sub-block, signs, e exponent.
_TABLE = (
    _format(0, "F32", 1, "<f4"),
    _format(1, "F16", 1, "<f2"),
    _format(30, "BF16", 1, "<u2"),
    _format(28, "F64", 1, "<f8"),
    _format(24, "I8", 1, "i1"),
    _format(25, "I16", 1, "<i2"),
    _format(26, "I32", 1, "<i4"),
    _format(27, "I64", 1, "<i8"),
    _format(2, "Q4_0", 32, ("d", "<f2"), ("qs", "u1", 16)),
    _format(3, "Q4_1", 32, ("d", "<f2"), ("m", "<f2"), ("qs", "u1", 16)),
    _format(6, "Q5_0", 32, ("d", "<f2"), ("qh", "<u4"), ("qs", "u1", 16)),
    _format(7, "Q5_1", 32, ("d", "<f2"), ("m", "<f2"), ("qh", "<u4"), ("qs", "u1", 16)),
    _format(8, "Q8_0", 32, ("d", "<f2"), ("qs", "i1", 32)),
    _format(9, "Q8_1", 32, ("d", "<f2"), ("s", "<f2"), ("qs", "i1", 32)),
    _format(10, "Q2_K", 256, ("scales", "u1", 16), ("qs", "u1", 64), ("d", "<f2"), ("dmin", "<f2")),
    _format(11, "Q3_K", 256, ("qh", "u1", 32), ("qs", "u1", 64), ("scales", "u1", 12), ("d", "<f2")),
    _format(12, "Q4_K", 256, ("d", "<f2"), ("dmin", "<f2"), ("scales", "u1", 12), ("qs", "u1", 128)),
    _format(13, "Q5_K", 256, ("d", "<f2"), ("dmin", "<f2"), ("scales", "u1", 12), ("qh", "u1", 32), ("qs", "u1", 128)),
    _format(14, "Q6_K", 256, ("ql", "u1", 128), ("qh", "u1", 64), ("scales", "i1", 16), ("d", "<f2")),
    _format(15, "Q8_K", 256, ("d", "<f4"), ("qs", "i1", 256), ("sums", "<i2", 16)),
    _format(16, "IQ2_XXS", 256, ("d", "<f2"), ("groups", [("grid", "u1", 4), ("signs", "<u4")], 8)),
    _format(17, "IQ2_XS", 256, ("d", "<f2"), ("qs", "<u2", 32), ("scales", "u1", 8)),
    _format(22, "IQ2_S", 256, ("d", "<f2"), ("qs", "u1", 32), ("signs", "u1", 32), ("qh", "u1", 8), ("scales", "u1", 8)),
    _format(18, "IQ3_XXS", 256, ("d", "<f2"), ("qs", "u1", 64), ("signs", "<u4", 8)),
    _format(21, "IQ3_S", 256, ("d", "<f2"), ("qs", "u1", 64), ("qh", "u1", 8), ("signs", "u1", 32), ("scales", "u1", 4)),
    _format(19, "IQ1_S", 256, ("d", "<f2"), ("qs", "u1", 32), ("qh", "<u2", 8)),
    _format(29, "IQ1_M", 256, ("qs", "u1", 32), ("qh", "u1", 16), ("scales", "<u2", 4)),
    _format(20, "IQ4_NL", 32, ("d", "<f2"), ("qs", "u1", 16)),
    _format(23, "IQ4_XS", 256, ("d", "<f2"), ("scales_h", "<u2"), ("scales_l", "u1", 4), ("qs", "u1", 128)),
    _format(34, "TQ1_0", 256, ("qs", "u1", 48), ("qh", "u1", 4), ("d", "<f2")),
    _format(35, "TQ2_0", 256, ("qs", "u1", 64), ("d", "<f2")),
    _format(39, "MXFP4", 32, ("e", "u1"), ("qs", "u1", 16)),
    _format(40, "NVFP4", 64, ("scales", "u1", 4), ("qs", "u1", 32)),
    _format(41, "Q1_0", 128, ("d", "<f2"), ("qs", "u1", 16)),
    _format(42, "Q2_0", 64, ("d", "<f2"), ("qs", "u1", 16)),
)


def _affine(id: int, bits: int, group: int) -> Format:
    """U{bits}_{group}: d q + m. Codes are in runs of 32 elements; of 3 bits the third is apart, in qh."""
    low = bits - bits % 2
    high = (("qh", "u1", group // 8),) if bits % 2 else ()
    return _format(id, f"U{bits}_{group}", group, ("d", "<f4"), ("m", "<f4"), *high, ("qs", "u1", group * low // 8))


# Formats of quantized HF checkpoints, with scales of f32, which holds any scale that files have.
_OWN = (
    _format(-1, "F8_E4M3", 1, "u1"),
    _format(-2, "F8_E5M2", 1, "u1"),
    _format(-3, "F8_E8M0", 1, "u1"),
    *(_affine(-10 * (n + 1) - i, bits, group) for n, bits in enumerate((2, 3, 4, 8)) for i, group in enumerate((32, 64, 128))),
    _format(-50, "I8_32", 32, ("d", "<f4"), ("qs", "i1", 32)),
    _format(-51, "I8_128", 128, ("d", "<f4"), ("qs", "i1", 128)),
    _format(-60, "E4M3_32", 32, ("d", "<f4"), ("qs", "u1", 32)),
    _format(-61, "E4M3_128", 128, ("d", "<f4"), ("qs", "u1", 128)),
    _format(-70, "NF4_64", 64, ("d", "<f4"), ("qs", "u1", 32)),
    _format(-71, "FP4_64", 64, ("d", "<f4"), ("qs", "u1", 32)),
)

FORMATS: Mapping[str, Format] = MappingProxyType({f.name: f for f in _TABLE + _OWN})
_BY_ID = {f.id: f for f in _TABLE}


def by_id(id: int) -> Format:
    """The format that a GGUF file calls `id`. Raises CheckpointError for an id that is not in use."""
    try:
        return _BY_ID[id]
    except KeyError:
        raise CheckpointError(f"type {id} is not a tensor format that Heron knows; the file is damaged, or newer than Heron") from None
