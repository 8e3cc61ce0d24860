"""Decoders of the formats whose elements, in fours or eights, are entries of a grid (codebooks.inc)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from heron.quant.bits import Blocks, Floats, f32, per_group, split, unpack
from heron.quant.codebooks import even_signs, grid

#: What IQ1 adds to every value of an entry, or takes away.
_IQ1_DELTA = np.float32(0.125)


def _entries(name: str, index: NDArray[Any]) -> Floats:
    """The values [B, n] of grid entries [B, indexes]."""
    return grid(name)[index].reshape(len(index), -1).astype(np.float32)


def _signs(packed: NDArray[np.uint8]) -> Floats:
    """Bytes [B, n / 8], a bit an element, lowest first: -1 where it is set."""
    return 1 - 2 * np.unpackbits(packed, axis=1, bitorder="little").astype(np.float32)


def _with_scale_on_top(words: NDArray[np.uint32]) -> tuple[Floats, Floats]:
    """Words [B, 8] of four times seven bits of signs and, on top, four of the scale: signs [B, 256], scales [B, 8]."""
    return _signs(even_signs()[split(words, 4, 7)]), (words >> np.uint32(28)).astype(np.float32)


def iq2_xxs(b: Blocks) -> Floats:
    groups = b["groups"]
    signs, scales = _with_scale_on_top(groups["signs"])
    values = _entries("IQ2_XXS", groups["grid"].reshape(len(b), -1))
    return per_group(f32(b["d"]) * (np.float32(0.5) + scales) * np.float32(0.25), values) * signs


def _iq2_scales(b: Blocks) -> Floats:
    return f32(b["d"]) * (np.float32(0.5) + unpack(b["scales"], 1, 4).astype(np.float32)) * np.float32(0.25)


def iq2_xs(b: Blocks) -> Floats:
    values, signs = _entries("IQ2_XS", b["qs"] & np.uint16(511)), _signs(even_signs()[b["qs"] >> np.uint16(9)])
    return per_group(_iq2_scales(b), values) * signs


def iq2_s(b: Blocks) -> Floats:
    index = b["qs"].astype(np.uint16) | unpack(b["qh"], 1, 2).astype(np.uint16) << np.uint16(8)
    return per_group(_iq2_scales(b), _entries("IQ2_S", index)) * _signs(b["signs"])


def iq3_xxs(b: Blocks) -> Floats:
    signs, scales = _with_scale_on_top(b["signs"])
    return per_group(f32(b["d"]) * (np.float32(0.5) + scales) * np.float32(0.5), _entries("IQ3_XXS", b["qs"])) * signs


def iq3_s(b: Blocks) -> Floats:
    index = b["qs"].astype(np.uint16) | unpack(b["qh"], 1, 1).astype(np.uint16) << np.uint16(8)
    scales = f32(b["d"]) * (1 + 2 * unpack(b["scales"], 1, 4).astype(np.float32))
    return per_group(scales, _entries("IQ3_S", index)) * _signs(b["signs"])


def _iq1(scales: Floats, index: NDArray[np.uint16], minus: NDArray[np.bool_]) -> Floats:
    """Entries with their shift: `minus` [B, G] says of each group of neighbours whether it is taken away."""
    values = _entries("IQ1_S", index).reshape(*minus.shape, -1)
    shifted = values + np.where(minus, -_IQ1_DELTA, _IQ1_DELTA)[:, :, None]
    return per_group(scales, shifted.reshape(len(index), -1))


def iq1_s(b: Blocks) -> Floats:
    qh = b["qh"]
    index = b["qs"].astype(np.uint16) | split(qh, 4, 3) << np.uint16(8)
    scales = f32(b["d"]) * (2 * (qh >> np.uint16(12) & np.uint16(7)) + 1).astype(np.float32)
    return _iq1(scales, index, qh >= 0x8000)


def iq1_m(b: Blocks) -> Floats:
    words = b["scales"]
    d = (words >> np.uint16(12) << np.arange(0, 16, 4, dtype=np.uint16)).sum(axis=1, dtype=np.uint16).view(np.float16)
    scales = f32(d) * (2 * split(words, 4, 3) + 1).astype(np.float32)
    high = unpack(b["qh"], 1, 4)
    index = b["qs"].astype(np.uint16) | (high & np.uint8(7)).astype(np.uint16) << np.uint16(8)
    return _iq1(scales, index, high >= 8)
