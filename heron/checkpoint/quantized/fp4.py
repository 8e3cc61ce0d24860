"""Four bits of E2M1, two in a byte, the even element low: NVFP4 and MXFP4, rewritten into GGUF's formats of those names.

NVFP4: a scale in E4M3 for 16 elements, and one in f32 for the matrix, which GGUF keeps in a tensor beside it; modelopt's weight,
weight_scale, weight_scale_2, or compressed-tensors' weight_packed, weight_scale, weight_global_scale, whose reciprocal is the scale.
MXFP4: compressed-tensors' weight_packed and weight_scale, exponents of two for 32 elements. (gpt-oss: transforms_alternating.py.)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from heron.checkpoint.metadata import Metadata
from heron.checkpoint.quantized.parts import Codes, Part, Parts
from heron.checkpoint.tensor import Tensor
from heron.checkpoint.views import Const
from heron.quant.bits import E2M1_DOUBLED
from heron.quant.decode_own import E4M3, E8M0
from heron.quant.formats import FORMATS, Format


class Fp4(Tensor):
    """Codes [..., in / 2] and scales [..., in / group] as blocks of ``target``; F32 where its blocks do not fill a row."""

    def __init__(self, codes: Part, scales: Part, target: Format, group: int, factor: np.float32 = np.float32(1)) -> None:
        width = 2 * codes.shape[-1]
        if scales.shape != (*codes.shape[:-1], -(-width // group)) or width % group:
            raise scales.error(f"has shape {list(scales.shape)}, but a scale for {group} of the elements of {codes.name!r} is expected")
        self._codes, self._scales, self._group, self._factor = codes, scales, group, factor
        self.shape, self.format = (*codes.shape[:-1], width), target if width % target.block == 0 else FORMATS["F32"]
        self._table = E4M3 if target.name == "NVFP4" else E8M0

    def rows(self, start: int = 0, stop: int | None = None) -> NDArray[np.uint8]:
        stop = self._stop(stop)
        pairs = self._codes.words(start, stop).astype(np.uint8, copy=False)
        codes = np.stack([pairs & np.uint8(15), pairs >> np.uint8(4)], axis=-1).reshape(stop - start, -1)
        scales = self._scales.words(start, stop).astype(np.uint8, copy=False)
        values = self._table[scales]
        if not (np.isfinite(values) & (values >= 0)).all():
            raise self._scales.error("holds a scale that is negative or not a number; the file is damaged: download it again")
        if self.format.name == "F32":
            factors = np.repeat(values * self._factor / 2, self._group, axis=1)
            return (E2M1_DOUBLED[codes] * factors).astype(np.float32).view(np.uint8)
        blocks = np.empty((stop - start, self.shape[-1] // self.format.block), self.format.layout)
        blocks["scales" if self.format.name == "NVFP4" else "e"] = (
            scales.reshape(*blocks.shape, -1).squeeze(-1) if self._group == self.format.block else scales.reshape(*blocks.shape, -1)
        )
        blocks["qs"] = _halves(codes, self._group).reshape(*blocks.shape, -1)
        return blocks.view(np.uint8)


def _halves(codes: Codes, group: int) -> Codes:
    """Each group's first half in the low bits, its second in the high ones."""
    apart = codes.reshape(-1, 2, group // 2)
    return np.asarray(apart[:, 0] | apart[:, 1] << np.uint8(4))


def modelopt_nvfp4(parts: Parts, config: Metadata) -> dict[str, Tensor]:
    return _nvfp4(parts.take("weight", "I8"), parts.take("weight_scale", "F8_E4M3"), parts.take("weight_scale_2", "F32").number())


def packed_fp4(parts: Parts, config: Metadata) -> dict[str, Tensor]:
    codes, scales = parts.take("weight_packed", "I8"), parts.take("weight_scale", "F8_E4M3", "F8_E8M0", "I8")
    if scales.tensor.format.name != "F8_E4M3":
        return {"weight": Fp4(codes, scales, FORMATS["MXFP4"], 32)}
    stored = parts.take("weight_global_scale", "F32")
    if (whole := stored.number()) == 0:
        raise stored.error("is 0, but scales are divided by it; the file is damaged: download it again")
    return _nvfp4(codes, scales, np.float32(1) / whole)


def _nvfp4(codes: Part, scales: Part, factor: np.float32) -> dict[str, Tensor]:
    weight = Fp4(codes, scales, FORMATS["NVFP4"], 16, factor)
    return {"weight": weight} if weight.format.name == "F32" else {"weight": weight, "scale": Const(np.array([factor], np.float32))}
