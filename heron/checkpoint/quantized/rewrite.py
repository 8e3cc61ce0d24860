"""One quantized matrix as a tensor: its codes and scales, computed row by row as they are asked for, put into blocks.

Which block format holds them exactly is decided here, by a table.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from math import gcd
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heron.checkpoint.quantized.parts import Codes, Floats
from heron.checkpoint.tensor import Tensor
from heron.quant.decode_own import E4M3, FP4, NF4
from heron.quant.formats import FORMATS, Format

#: Bits of stored codes -> bits of the affine format that holds them.
_WIDENED = {1: 2, 2: 2, 3: 3, 4: 4, 5: 8, 6: 8, 7: 8, 8: 8}


class Source(ABC):
    """A matrix as some library stores it, in numbers that mean the same for all: value = scale * (code - zero).

    shape     [..., out, in]; rows are those of the flattened leading dimensions
    kind      "affine": codes are unsigned, below 2^bits; "signed": int8, with a zero of 0; "table": they number the values of `table`
    group     elements along a row that share a scale; the last group of a row may be shorter
    half      scales are f16, so that GGUF's formats hold them
    centred   every zero of an affine one is 2^(bits - 1)
    order     where columns are stored in another order: the matrix's column that each is
    """

    name: str
    shape: tuple[int, ...]
    kind: str = "affine"
    bits: int = 8
    group: int
    half: bool = False
    centred: bool = False
    order: NDArray[np.intp] | None = None
    table: Floats | None = None

    @abstractmethod
    def codes(self, start: int, stop: int) -> Codes:
        """[rows, in], bytes."""

    @abstractmethod
    def scales(self, start: int, stop: int) -> Floats:
        """[rows, groups]."""

    def minima(self, start: int, stop: int, scales: Floats) -> Floats:
        """[rows, groups]: what is added to scale * code of an affine one, -scale * zero."""
        return scales * np.float32(-(1 << (self.bits - 1)))


#: The block formats of tables, and the elements of their blocks.
_TABLES: tuple[tuple[Floats, str, tuple[int, ...]], ...] = ((E4M3, "E4M3", (128, 32)), (NF4, "NF4", (64,)), (FP4, "FP4", (64,)))


def block_format(source: Source) -> Format:
    """The format that holds exactly what the source does: the table of all rewritings. F32 where no block fits its rows."""
    width = source.shape[-1]
    run = gcd(min(source.group, width), width)
    stem: str
    sizes: tuple[int, ...] = (128, 64, 32)
    if source.table is not None:
        equal = (entry for entry in _TABLES if np.array_equal(entry[0], source.table, equal_nan=True))
        _, stem, sizes = next(equal, (source.table, "", ()))
    elif source.kind == "signed":
        stem, sizes = ("Q8", (32,)) if source.half else ("I8", (128, 32))
    elif source.centred and source.half and source.bits == 4:
        stem, sizes = "Q4", (32,)
    else:
        stem = f"U{_WIDENED[source.bits]}"
    size = next((size for size in sizes if run % size == 0), 0)
    if not size:
        return FORMATS["F32"]
    return FORMATS[f"{stem}_0" if stem.startswith("Q") else f"{stem}_{size}"]


class Rewritten(Tensor):
    """A source's rows in its block format."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.shape, self.format = source.shape, block_format(source)
        self.column_order = source.order

    def rows(self, start: int = 0, stop: int | None = None) -> NDArray[np.uint8]:
        stop, source = self._stop(stop), self._source
        size = self.format.block
        group = np.arange(self.row_length // size) * size // source.group
        codes, scales = source.codes(start, stop), source.scales(start, stop)
        minima = source.minima(start, stop, scales)[:, group] if source.kind == "affine" else None
        scales = scales[:, group]
        if self.format.plain:
            return _decoded(source, codes, scales, minima)
        blocks = np.empty(scales.shape, self.format.layout)
        blocks["d"] = scales
        if minima is not None and "m" in (self.format.layout.names or ()):
            blocks["m"] = minima
        for field, packed in PACK[self.format.name.split("_")[0]](codes.reshape(*blocks.shape, size)).items():
            blocks[field] = packed
        return blocks.view(np.uint8)


def _decoded(source: Source, codes: Codes, scales: Floats, minima: Floats | None) -> NDArray[np.uint8]:
    """Rows as F32."""
    numbers = codes.view(np.int8) if source.kind == "signed" else codes
    values = scales * (numbers.astype(np.float32) if source.table is None else source.table[codes])
    return np.ascontiguousarray(values if minima is None else values + minima).view(np.uint8)


def _runs(codes: Codes, bits: int) -> Codes:
    """[..., block] -> [..., block * bits / 8]: of each 32 elements byte i holds, lowest first, the bits of i, i + 4 * bits, ..."""
    across = 4 * bits
    lanes = codes.reshape(*codes.shape[:-1], -1, 8 // bits, across)
    packed = lanes[..., 0, :]
    for i in range(1, 8 // bits):
        packed = packed | lanes[..., i, :] << np.uint8(bits * i)
    return np.asarray(packed.reshape(*codes.shape[:-1], -1), np.uint8)


def _bytes(codes: Codes) -> dict[str, NDArray[Any]]:
    return {"qs": codes}


def _signed(codes: Codes) -> dict[str, NDArray[Any]]:
    return {"qs": codes.view(np.int8)}


def _nibbles(codes: Codes) -> dict[str, NDArray[Any]]:
    return {"qs": _runs(codes, 4)}


#: Codes [..., block] as the fields of a block.
PACK: dict[str, Callable[[Codes], dict[str, NDArray[Any]]]] = {
    "U2": lambda codes: {"qs": _runs(codes, 2)},
    "U3": lambda codes: {"qs": _runs(codes & np.uint8(3), 2), "qh": _runs(codes >> np.uint8(2), 1)},
    "U4": _nibbles,
    "U8": _bytes,
    "Q4": _nibbles,
    "Q8": _signed,
    "I8": _signed,
    "E4M3": _bytes,
    "NF4": _nibbles,
    "FP4": _nibbles,
}
