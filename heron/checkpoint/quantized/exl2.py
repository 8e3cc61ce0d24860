"""EXL2 (exllamav2): groups of columns with widths of their own, in the order in which they were quantized.

Parts: q_weight int32 [words, out], each group's codes packed along the input; q_groups int16 [2 groups], its bits and first word;
q_scale int32 [groups, out / 8], four bits each; q_scale_max f16 [groups]; q_invperm int32 [in].
value = (s + 1)^2 / 256 * scale_max * (code - 2^(bits - 1)). Codes of up to four bits become four of them, wider ones eight.
Source: exllamav2's file layout.
"""

from __future__ import annotations

import numpy as np

from heron.checkpoint.metadata import Metadata
from heron.checkpoint.quantized.parts import SCALES, Codes, Floats, Parts
from heron.checkpoint.quantized.rewrite import Rewritten, Source
from heron.checkpoint.quantized.unpack import packed_length, unpack
from heron.checkpoint.tensor import Tensor

BITS = (2, 3, 4, 5, 6, 8)


class Exl2(Source):
    def __init__(self, parts: Parts) -> None:
        self.name = parts.stem
        self._words, self._packed_scales = parts.take("q_weight", "I32"), parts.take("q_scale", "I32")
        if len(self._words.shape) != 2:
            raise self._words.error(f"has shape {list(self._words.shape)}, but a matrix is expected")
        inverse, groups = parts.take("q_invperm", "I32", "I16"), parts.take("q_groups", "I16")
        order = np.argsort(inverse.words().reshape(-1), kind="stable")
        out, width = self._words.shape[1], len(order)
        if not np.array_equal(inverse.words().reshape(-1)[order], np.arange(width)):
            raise inverse.error("is no permutation; the file is damaged: download it again")
        self.order = None if np.array_equal(order, np.arange(width)) else order
        pairs = groups.words().astype(np.int64).reshape(-1)
        if len(pairs) % 2 or not len(pairs) or not set(pairs[::2].tolist()) <= set(BITS):
            raise groups.error(f"holds {pairs[:8].tolist()} ..., which are no pairs of bits (one of {BITS}) and first word")
        self._bits, self._first = pairs[::2], np.append(pairs[1::2], self._words.shape[0])
        sizes = np.diff(self._first) * 32 // self._bits
        sizes[-1] = width - sizes[:-1].sum()  # the last may be padded
        if (sizes <= 0).any() or self._first[0] or packed_length(int(sizes[-1]), int(self._bits[-1])) > np.diff(self._first)[-1]:
            raise groups.error(f"does not divide {self._words.shape[0]} words into the {width} columns of {inverse.name!r}")
        self.shape, self._sizes = (out, width), sizes
        parts.shaped("q_scale", (len(sizes), packed_length(out, 4)))
        self._largest = parts.shaped("q_scale_max", (len(sizes),), *SCALES)
        # As many columns as divide every group: a scale for each so many.
        self.group = int(np.gcd.reduce(np.append(sizes, width)))
        self.bits, self.centred = 4, True
        if self._bits.max() > 4:
            self.kind = "signed"

    def codes(self, start: int, stop: int) -> Codes:
        words, centre = self._words.words(), 0 if self.kind == "signed" else 8
        found = []
        for bits, first, last, size in zip(self._bits.tolist(), self._first, self._first[1:], self._sizes, strict=False):
            codes = unpack(words[first:last, start:stop], bits)[:size]
            found.append(codes + np.uint8((centre - (1 << (bits - 1))) & 255))
        return np.ascontiguousarray(np.concatenate(found).T)

    def scales(self, start: int, stop: int) -> Floats:
        roots = unpack(np.ascontiguousarray(self._packed_scales.words().T), 4)[start:stop].astype(np.float32) + 1
        whole = roots * roots * (self._largest.numbers().reshape(1, -1) / np.float32(256))
        return np.repeat(whole, self._sizes // self.group, axis=1)


def exl2(parts: Parts, config: Metadata) -> dict[str, Tensor]:
    return {"weight": Rewritten(Exl2(parts))}
