"""Bytes with scales: FP8 and int8 [out, in], whose scale is a tensor's, a row's, or a block's of rows and columns.

Parts: weight, and weight_scale or (DeepSeek's, which is multiplied too) weight_scale_inv, or (Mistral's) qscale_weight, or
(bitsandbytes' int8) SCB, 127 times the scale. Activations' scales are not needed: Heron rounds activations as its own kernels want them.
Sources: transformers' FP8 integrations, compressed-tensors, modelopt, bitsandbytes.
"""

from __future__ import annotations

from math import prod

import numpy as np

from heron.checkpoint.metadata import Metadata
from heron.checkpoint.quantized.parts import SCALES, Codes, Floats, Part, Parts
from heron.checkpoint.quantized.rewrite import Rewritten, Source
from heron.checkpoint.tensor import Tensor
from heron.errors import UnsupportedError
from heron.quant.decode_own import E4M3

#: What scales are called, in the order in which they are looked for.
NAMES = ("weight_scale_inv", "weight_scale", "qscale_weight", "SCB")


class Scaled(Source):
    """[..., out, in]; scales of any of the shapes that ``_spread`` knows."""

    def __init__(self, parts: Parts) -> None:
        self.name = parts.stem
        self._weight = parts.take("weight", "F8_E4M3", "I8")
        if len(self._weight.shape) < 2:
            raise self._weight.error(f"has shape {list(self._weight.shape)}, but a matrix is expected")
        self.shape = self._weight.shape
        scale = next((suffix for suffix in NAMES if parts.has(suffix)), NAMES[1])
        self._scales = parts.take(scale, *SCALES, "F8_E8M0", "I8")
        self._factor = np.float32(1 / 127) if scale == "SCB" else np.float32(1)
        self.kind, self.table = ("signed", None) if self._weight.tensor.format.name == "I8" else ("table", E4M3)
        self.half = self._scales.tensor.format.name == "F16" and scale != "SCB"
        self._rows, self.group = self._spread()

    def _spread(self) -> tuple[int, int]:
        """Rows and columns that a scale is of."""
        *lead, out, width = self.shape
        shape = self._scales.shape
        if self._scales.tensor.size == 1:
            return prod((*lead, out)), width
        if shape in ((*lead, out, 1), (*lead, out)):
            return 1, width
        if len(shape) == len(self.shape) and shape[:-2] == tuple(lead):
            for block in (128, 64, 32, 16):
                for rows in (block, 1):
                    if shape[-2:] == (-(-out // rows), -(-width // block)) and (rows == 1 or not lead or out % rows == 0):
                        return rows, block
        raise self._scales.error(f"has shape {list(shape)}, which is no tensor's, row's or block's beside a weight of {list(self.shape)}")

    def codes(self, start: int, stop: int) -> Codes:
        codes = np.asarray(self._weight.tensor.rows(start, stop))
        if self.kind == "table" and (codes & np.uint8(0x7F) == 0x7F).any():
            raise self._weight.error("holds weights that are not numbers; the file is damaged: download it again")
        return codes

    def scales(self, start: int, stop: int) -> Floats:
        if self._scales.tensor.size == 1:
            return np.broadcast_to(self._scales.powers().reshape(1, 1) * self._factor, (stop - start, 1))
        if self._rows == 1 and self.group == self.shape[-1]:
            return (self._scales.powers().reshape(-1)[start:stop] * self._factor).reshape(-1, 1)
        first = start // self._rows
        stored = self._scales.powers(first, -(-stop // self._rows)) * self._factor
        return stored[np.arange(start, stop) // self._rows - first]


class Shifted(Scaled):
    """int8 with zeros, signed bytes as the codes are (compressed-tensors)."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self._zeros: Part = parts.shaped("weight_zero_point", self._scales.shape, "I8")
        self.kind = "affine"

    def codes(self, start: int, stop: int) -> Codes:
        return super().codes(start, stop) ^ np.uint8(128)

    def minima(self, start: int, stop: int, scales: Floats) -> Floats:
        zeros = self._zeros.words().view(np.int8).astype(np.float32).reshape(-1, scales.shape[-1])
        rows = np.arange(start, stop) // self._rows if len(zeros) > 1 else np.zeros(stop - start, np.intp)
        return -scales * (zeros[rows] + 128)


def scaled(parts: Parts, config: Metadata) -> dict[str, Tensor]:
    """FP8 or int8."""
    if parts.has("SCB") and parts.has("weight_format") and (form := parts.take("weight_format").words().reshape(-1)[:1]).any():
        raise UnsupportedError(
            f"{parts.where}: {parts.stem!r} is stored in bitsandbytes' layout {int(form[0])} for one GPU; save it by rows (0)"
        )
    return {"weight": Rewritten(Shifted(parts) if parts.has("weight_zero_point") else Scaled(parts))}
