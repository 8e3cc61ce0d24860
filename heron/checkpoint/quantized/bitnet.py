"""BitNet b1.58 (Ma et al. 2024): ternary codes, four in a byte, that belong to four blocks of rows.

Parts: weight uint8 [out / 4, in], whose bits 2 b and 2 b + 1 are the code of row r + b out / 4; weight_scale, by which results are divided.
Source: transformers' integration.
"""

from __future__ import annotations

import numpy as np

from heron.checkpoint.metadata import Metadata
from heron.checkpoint.quantized.parts import SCALES, Codes, Floats, Parts
from heron.checkpoint.quantized.rewrite import Rewritten, Source
from heron.checkpoint.tensor import Tensor


class Ternary(Source):
    bits = 2

    def __init__(self, parts: Parts, config: Metadata) -> None:
        self.name = parts.stem
        self._weight, scale = parts.take("weight", "I8"), parts.take("weight_scale", *SCALES)
        if len(self._weight.shape) != 2:
            raise self._weight.error(f"has shape {list(self._weight.shape)}, but a matrix is expected")
        self.shape, self.group = (4 * self._weight.shape[0], self._weight.shape[1]), self._weight.shape[1]
        number = scale.number()
        if number == 0:
            raise scale.error("is 0, but results are divided by it; the file is damaged: download it again")
        # Models that were trained so multiply by it.
        self._scale = number if config.text("linear_class", "bitlinear") == "autobitlinear" else np.float32(1) / number

    def codes(self, start: int, stop: int) -> Codes:
        block, row = np.divmod(np.arange(start, stop), self._weight.shape[0])
        return self._weight.words()[row] >> (2 * block).astype(np.uint8)[:, None] & np.uint8(3)

    def scales(self, start: int, stop: int) -> Floats:
        return np.full((stop - start, 1), self._scale, np.float32)

    def minima(self, start: int, stop: int, scales: Floats) -> Floats:
        return -scales  # a code of 1 is 0


def bitnet(parts: Parts, config: Metadata) -> dict[str, Tensor]:
    return {"weight": Rewritten(Ternary(parts, config))}
