"""From stored blocks to float32: the meaning of each format, in numpy.

Each decoder takes blocks as a structured array [B] (fields as in formats.py) and gives float32 [B, block].
The order of the float32 operations is ggml's, so results are equal to its own bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from heron.quant import decode_grids, decode_own
from heron.quant.bits import E2M1_DOUBLED, Blocks, Floats, f32, per_group, split, unpack
from heron.quant.formats import Format

# Blocks decoded at a time: enough for numpy to be quick, few enough for the temporaries to stay in the cache.
_CHUNK_ELEMENTS = 1 << 18

IQ4_VALUES = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.float32)


def dequantize(fmt: Format, raw: NDArray[np.uint8]) -> Floats:
    """Decode rows: uint8 [..., row_bytes] -> float32 [..., n]."""
    decode = _DECODERS[fmt.name]
    blocks = np.ascontiguousarray(raw).reshape(-1).view(fmt.layout)
    out = np.empty((len(blocks), fmt.block), np.float32)
    step = max(1, _CHUNK_ELEMENTS // fmt.block)
    # A hostile file's scales may overflow: infinity is then the answer, and not an accident here.
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, len(blocks), step):
            out[start : start + step] = decode(blocks[start : start + step])
    return out.reshape(*raw.shape[:-1], raw.shape[-1] // fmt.bytes * fmt.block)


def _plain(b: Blocks) -> Floats:
    return b.astype(np.float32)[:, None]


def _bf16(b: Blocks) -> Floats:
    return (b.astype(np.uint32) << np.uint32(16)).view(np.float32)[:, None]


def _q4_0(b: Blocks) -> Floats:
    return f32(b["d"]) * (unpack(b["qs"], 16, 4).astype(np.float32) - 8)


def _q4_1(b: Blocks) -> Floats:
    return f32(b["d"]) * unpack(b["qs"], 16, 4).astype(np.float32) + f32(b["m"])


def _fifth_bits(b: Blocks) -> NDArray[np.uint8]:
    return unpack(b["qs"], 16, 4) | (split(b["qh"][:, None], 32, 1).astype(np.uint8) << np.uint8(4))


def _q5_0(b: Blocks) -> Floats:
    return f32(b["d"]) * (_fifth_bits(b).astype(np.float32) - 16)


def _q5_1(b: Blocks) -> Floats:
    return f32(b["d"]) * _fifth_bits(b).astype(np.float32) + f32(b["m"])


def _q8_0(b: Blocks) -> Floats:
    return f32(b["d"]) * b["qs"].astype(np.float32)


def _q2_k(b: Blocks) -> Floats:
    scales, minima = f32(b["d"]) * (b["scales"] & 15).astype(np.float32), f32(b["dmin"]) * (b["scales"] >> 4).astype(np.float32)
    return per_group(scales, unpack(b["qs"], 32, 2)) - np.repeat(minima, 16, axis=1)


def _q3_k(b: Blocks) -> Floats:
    low, high = unpack(b["scales"][:, :8], 8, 4), unpack(b["scales"][:, 8:], 4, 2)
    scales = (low | (high << np.uint8(4))).astype(np.float32) - 32
    # A set high bit means "nothing to subtract".
    values = unpack(b["qs"], 32, 2).astype(np.float32) - 4 * (1 - unpack(b["qh"], 32, 1).astype(np.float32))
    return per_group(f32(b["d"]) * scales, values)


def _scales_and_minima(b: Blocks) -> tuple[Floats, Floats]:
    """The eight 6-bit scales and minima of Q4_K and Q5_K: four whole ones, then four split over two bytes."""
    first, second, last = b["scales"][:, :4], b["scales"][:, 4:8], b["scales"][:, 8:]
    scales = np.concatenate([first & 63, (last & 15) | (first >> 6 << 4)], axis=1)
    minima = np.concatenate([second & 63, (last >> 4) | (second >> 6 << 4)], axis=1)
    return f32(b["d"]) * scales.astype(np.float32), f32(b["dmin"]) * minima.astype(np.float32)


def _q4_k(b: Blocks) -> Floats:
    scales, minima = _scales_and_minima(b)
    return per_group(scales, unpack(b["qs"], 32, 4)) - np.repeat(minima, 32, axis=1)


def _q5_k(b: Blocks) -> Floats:
    scales, minima = _scales_and_minima(b)
    values = unpack(b["qs"], 32, 4) | (unpack(b["qh"], 32, 1) << np.uint8(4))
    return per_group(scales, values) - np.repeat(minima, 32, axis=1)


def _q6_k(b: Blocks) -> Floats:
    values = unpack(b["ql"], 64, 4) | (unpack(b["qh"], 32, 2) << np.uint8(4))
    return per_group(f32(b["d"]) * b["scales"].astype(np.float32), values.astype(np.float32) - 32)


def _iq4_nl(b: Blocks) -> Floats:
    return f32(b["d"]) * IQ4_VALUES[unpack(b["qs"], 16, 4)]


def _iq4_xs(b: Blocks) -> Floats:
    low = unpack(b["scales_l"], 1, 4)
    high = split(b["scales_h"][:, None], 8, 2).astype(np.uint8)
    scales = (low | (high << np.uint8(4))).astype(np.float32) - 32
    return per_group(f32(b["d"]) * scales, IQ4_VALUES[unpack(b["qs"], 16, 4)])


def _trits(packed: NDArray[np.uint8], digits: int) -> NDArray[np.uint8]:
    """Base-3 digits of bytes that hold them as a fraction of 256: multiply by 3^k modulo 256, keep the next digit."""
    powers = (3 ** np.arange(digits)).astype(np.uint8)[:, None]
    shifted = (packed[:, None, :] * powers).astype(np.uint16)
    return (shifted * np.uint16(3) >> np.uint16(8)).astype(np.uint8).reshape(len(packed), -1)


def _tq1_0(b: Blocks) -> Floats:
    digits = np.concatenate([_trits(b["qs"][:, :32], 5), _trits(b["qs"][:, 32:], 5), _trits(b["qh"], 4)], axis=1)
    return f32(b["d"]) * (digits.astype(np.float32) - 1)


def _tq2_0(b: Blocks) -> Floats:
    return f32(b["d"]) * (unpack(b["qs"], 32, 2).astype(np.float32) - 1)


def _mxfp4(b: Blocks) -> Floats:
    # 2^(e - 128), exact in the subnormal range too: the doubled E2M1 values take the other half.
    return np.ldexp(np.float32(1), b["e"].astype(np.int32) - 128).astype(np.float32)[:, None] * E2M1_DOUBLED[unpack(b["qs"], 16, 4)]


def _nvfp4(b: Blocks) -> Floats:
    exponent, mantissa = (b["scales"] >> 3 & 15).astype(np.int32), (b["scales"] & 7).astype(np.float32)
    scales = np.where(exponent == 0, np.ldexp(mantissa, -10), np.ldexp(1 + mantissa / 8, exponent - 8)).astype(np.float32)
    scales[b["scales"] == 0x7F] = 0  # E4M3's NaN
    return per_group(scales, E2M1_DOUBLED[unpack(b["qs"], 8, 4)])


def _q1_0(b: Blocks) -> Floats:
    return f32(b["d"]) * (2 * np.unpackbits(b["qs"], axis=1, bitorder="little").astype(np.float32) - 1)


def _q2_0(b: Blocks) -> Floats:
    return f32(b["d"]) * (unpack(b["qs"], 1, 2).astype(np.float32) - 1)


_DECODERS: dict[str, Callable[[Blocks], Floats]] = {
    "F32": _plain,
    "F16": _plain,
    "BF16": _bf16,
    "F64": _plain,
    "I8": _plain,
    "I16": _plain,
    "I32": _plain,
    "I64": _plain,
    "Q4_0": _q4_0,
    "Q4_1": _q4_1,
    "Q5_0": _q5_0,
    "Q5_1": _q5_1,
    "Q8_0": _q8_0,
    "Q8_1": _q8_0,  # its sum of the quants is for products
    "Q8_K": _q8_0,  # and so are its sums
    "Q2_K": _q2_k,
    "Q3_K": _q3_k,
    "Q4_K": _q4_k,
    "Q5_K": _q5_k,
    "Q6_K": _q6_k,
    "IQ2_XXS": decode_grids.iq2_xxs,
    "IQ2_XS": decode_grids.iq2_xs,
    "IQ2_S": decode_grids.iq2_s,
    "IQ3_XXS": decode_grids.iq3_xxs,
    "IQ3_S": decode_grids.iq3_s,
    "IQ1_S": decode_grids.iq1_s,
    "IQ1_M": decode_grids.iq1_m,
    "IQ4_NL": _iq4_nl,
    "IQ4_XS": _iq4_xs,
    "TQ1_0": _tq1_0,
    "TQ2_0": _tq2_0,
    "MXFP4": _mxfp4,
    "NVFP4": _nvfp4,
    "Q1_0": _q1_0,
    "Q2_0": _q2_0,
    **decode_own.DECODERS,
}
