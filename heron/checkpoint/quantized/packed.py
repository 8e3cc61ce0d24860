"""compressed-tensors' pack-quantized integers: [out, in] packed along the input, zeros along the output.

Parts: weight_packed int32 [out, in bits / 32], weight_scale [out, groups], weight_shape; where there are such, weight_zero_point int32
[out bits / 32, groups] and weight_g_idx [in]. Codes are stored 2^(bits - 1) higher than the signed ones.
Source: the library compressed-tensors.
"""

from __future__ import annotations

from math import prod

import numpy as np
from numpy.typing import NDArray

from heron.checkpoint.metadata import Metadata
from heron.checkpoint.quantized.order import sorted_columns
from heron.checkpoint.quantized.parts import SCALES, Codes, Floats, Parts
from heron.checkpoint.quantized.rewrite import Rewritten, Source
from heron.checkpoint.quantized.unpack import packed_length, unpack, unpack_rows
from heron.checkpoint.tensor import Tensor


class Packed(Source):
    def __init__(self, parts: Parts, bits: tuple[int, ...]) -> None:
        """``bits`` are those of the configuration's groups of layers; a matrix's own follow from its shapes."""
        self.name = parts.stem
        self._words, self._scales = parts.take("weight_packed", "I32"), parts.take("weight_scale", *SCALES)
        shape = parts.take("weight_shape", "I32", "I64")
        sizes = tuple(int(n) for n in shape.words().reshape(-1)[:8])
        if len(self._words.shape) < 2 or sizes[:-1] != self._words.shape[:-1]:
            raise self._words.error(f"has shape {list(self._words.shape)}, which cannot be {list(sizes)}, as {shape.name!r} says")
        self.shape, width = sizes, sizes[-1]
        found = [b for b in bits if packed_length(width, b) == self._words.shape[-1]]
        if not found:
            raise self._words.error(
                f"has shape {list(self._words.shape)}, which {width} codes of {' or '.join(map(str, bits))} bits do not fill"
            )
        self.bits = found[0]
        groups = self._scales.shape[-1] if self._scales.shape[:-1] == sizes[:-1] else 0
        if self._scales.tensor.size != 1 and not groups:
            raise self._scales.error(f"has shape {list(self._scales.shape)}, but {[*sizes[:-1], 'groups']} is expected")
        self._groups = max(groups, 1)
        self.group = -(-width // self._groups)
        self._zeros = parts.maybe("weight_zero_point", "I32")
        if self._zeros is not None:
            parts.shaped("weight_zero_point", (*sizes[:-2], packed_length(sizes[-2], self.bits), self._groups))
        if parts.has("weight_g_idx"):
            self.order = sorted_columns(parts.shaped("weight_g_idx", (width,), "I32", "I64"), self._groups, self.group)
        self.half = self._scales.tensor.format.name == "F16"
        self.centred = self._zeros is None
        if self.centred and self.bits == 8:
            self.kind = "signed"

    def codes(self, start: int, stop: int) -> Codes:
        codes = unpack_rows(self._words.words(start, stop), self.bits, self.shape[-1])
        codes = codes if self.order is None else codes[:, self.order]
        return codes ^ np.uint8(128) if self.kind == "signed" else codes

    def scales(self, start: int, stop: int) -> Floats:
        if self._scales.tensor.size == 1:
            return np.broadcast_to(self._scales.numbers().reshape(1, 1), (stop - start, 1))
        return self._scales.numbers(start, stop)

    def minima(self, start: int, stop: int, scales: Floats) -> Floats:
        if self._zeros is None:
            return super().minima(start, stop, scales)
        return -scales * self._unpacked_zeros(start, stop).astype(np.float32)

    def _unpacked_zeros(self, start: int, stop: int) -> NDArray[np.uint8]:
        assert self._zeros is not None
        matrices, out = prod(self.shape[:-2]), self.shape[-2]
        words = self._zeros.words().reshape(matrices, -1, self._groups).swapaxes(0, 1)
        return unpack(words, self.bits)[:out].swapaxes(0, 1).reshape(-1, self._groups)[start:stop]


def _bits(config: Metadata) -> tuple[int, ...]:
    """The widths of integers that the configuration's groups have, most likely first."""
    groups = config.table("config_groups", Metadata())
    found = [groups.table(name).table("weights", Metadata()).integer("num_bits", 4, minimum=1) for name in groups]
    return tuple(dict.fromkeys(found)) or (4,)


def packed(parts: Parts, config: Metadata) -> dict[str, Tensor]:
    bits = _bits(config)
    if wrong := [b for b in bits if not 1 <= b <= 8]:
        raise parts.error(f"has {wrong[0]} bits by the configuration; codes have 1 to 8")
    return {"weight": Rewritten(Packed(parts, bits))}
