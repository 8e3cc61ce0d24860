"""GPTQ (Frantar et al. 2022): codes packed along the input, transposed; groups in the order in which columns were quantized.

Parts: qweight [in bits / 32, out], qzeros [groups, out bits / 32], scales [groups, out], and g_idx [in], the group of each column.
Source: AutoGPTQ's and GPTQModel's file layout; version 1 stores zeros less one, version 2 as they are.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from heron.checkpoint.metadata import Metadata
from heron.checkpoint.quantized.order import sorted_columns
from heron.checkpoint.quantized.parts import SCALES, Codes, Floats, Parts
from heron.checkpoint.quantized.rewrite import Rewritten, Source
from heron.checkpoint.quantized.unpack import packed_length, unpack, unpack_rows
from heron.checkpoint.tensor import Tensor
from heron.errors import UnsupportedError

BITS = (2, 3, 4, 8)

#: checkpoint_format -> what stored zeros lack.
_ZEROS = {"gptq": 1, "gptq_v2": 0}


class Gptq(Source):
    def __init__(self, parts: Parts, config: Metadata) -> None:
        version = config.text("checkpoint_format", "gptq")
        if version not in _ZEROS:
            raise UnsupportedError(
                f"{config.where}: GPTQ files of checkpoint_format {version!r} are repacked for one GPU; use {list(_ZEROS)}"
            )
        self.name, self._less = parts.stem, _ZEROS[version]
        self._words, self._zeros = parts.take("qweight", "I32"), parts.take("qzeros", "I32")
        self._scales = parts.take("scales", *SCALES)
        if len(self._words.shape) != 2:
            raise self._words.error(f"has shape {list(self._words.shape)}, but a matrix is expected")
        index = parts.maybe("g_idx", "I32", "I64")
        packed, out = self._words.shape
        self.bits = config.integer("bits", 4)
        if index is not None and index.shape and index.shape[0]:
            self.bits = packed * 32 // index.shape[0]  # of this matrix, where they differ
        if self.bits not in BITS:
            raise self._words.error(f"has codes of {self.bits} bits; GPTQ's are of {', '.join(map(str, BITS))}: the file is damaged")
        width = packed * 32 // self.bits
        group = config.integer("group_size", -1, minimum=-1)
        self.group, self.shape = (group if group > 0 else width), (out, width)
        self._groups = -(-width // self.group)
        parts.shaped("qweight", (packed_length(width, self.bits), out))
        parts.shaped("qzeros", (self._groups, packed_length(out, self.bits)))
        parts.shaped("scales", (self._groups, out))
        if index is not None:
            self.order = sorted_columns(parts.shaped("g_idx", (width,)), self._groups, self.group)
        self.half = self._scales.tensor.format.name == "F16"
        self.centred = config.flag("sym", False)
        if self.centred and self.bits == 8:
            self.kind = "signed"

    def codes(self, start: int, stop: int) -> Codes:
        codes = unpack_rows(np.ascontiguousarray(self._words.words()[:, start:stop].T), self.bits, self.shape[1])
        codes = codes if self.order is None else codes.take(self.order, axis=1)
        if self.kind == "signed":
            self._check_centre(self.zeros(start, stop))
            codes = codes ^ np.uint8(128)
        return codes

    def scales(self, start: int, stop: int) -> Floats:
        return self._scales.columns(start, stop)

    def zeros(self, start: int, stop: int) -> NDArray[np.uint8]:
        """[rows, groups]. What version 1 stores of a zero of 0 is all ones."""
        first = start // 32  # runs of so many codes are whole words
        words = self._zeros.words()[:, first * self.bits : -(-stop // 32) * self.bits]
        codes = unpack(words.T, self.bits)[start - 32 * first :][: stop - start]
        return codes + np.uint8(self._less) & np.uint8((1 << self.bits) - 1)

    def minima(self, start: int, stop: int, scales: Floats) -> Floats:
        zeros = self.zeros(start, stop)
        if self.centred:
            self._check_centre(zeros)
        return -scales * zeros.astype(np.float32)

    def _check_centre(self, zeros: NDArray[np.uint8]) -> None:
        if (zeros != 1 << (self.bits - 1)).any():
            raise self._zeros.error('has other zeros than the middle, but the configuration says "sym": true; set it to false')


def gptq(parts: Parts, config: Metadata) -> dict[str, Tensor]:
    return {"weight": Rewritten(Gptq(parts, config))}
