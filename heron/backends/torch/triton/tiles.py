"""From the planes of quantized blocks to tiles of numbers, in registers: what kernels of products are given for each format.

A program reads quants of some rows in *lanes*: LANES neighbouring bytes, whose numbers share a scale. A byte holds PARTS numbers, RUN
places apart in K: part 0 of a run of RUN bytes is its lowest bits, RUN neighbours in K; part 1 is the next RUN numbers, and so on.
Nothing is shuffled to put K in order: a sum over K may be taken in any order that its two sides share, so each part is multiplied by its
own piece of x.

A number is ``scale * value + minimum``: scale and minimum [rows, groups], values [rows, groups, LANES].
The functions take

- ``planes``: pointers to the planes, in the order of the format's fields (heron/backends/torch/planes.py);
- ``block`` int64 [rows, groups]: the block that a group of lanes lies in, counted from the first of the matrix;
- ``e`` int32 [1, groups]: where in the block its numbers of part 0 begin; ``inside`` [1, groups]: whether that is in the matrix;
- ``q`` [rows, groups, LANES]: the group's quants as stored; ``PART``: which of their numbers is meant.

What they load does not depend on PART, so that a compiler loads it once. Meanings: heron/quant/dequantize.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import triton
import triton.language as tl

from heron.backends.torch.triton.pairs import pairs_2, pairs_4, pairs_4_centred, pairs_e2m1, pairs_i8, pairs_u8
from heron.quant.dequantize import IQ4_VALUES
from heron.quant.formats import Format

# Arithmetic


@triton.jit
def _less(n, ZERO: tl.constexpr):
    """Whole numbers n < 2^23 as float32, less ZERO: the bits of 2^23 + n are those of 2^23 or n, and no slow conversion is needed."""
    return (n.to(tl.int32) | 0x4B000000).to(tl.float32, bitcast=True) - (8388608.0 + ZERO)


@triton.jit
def _bits(q, PART: tl.constexpr, BITS: tl.constexpr):
    """Number PART, of BITS bits, of bytes."""
    return (q.to(tl.int32) >> (PART * BITS)) & ((1 << BITS) - 1)


@triton.jit
def _number(pointer, block, inside):
    """A scale of each block, as float32."""
    return tl.load(pointer + block, inside, 0.0).to(tl.float32)


@triton.jit
def _byte(word, i):
    """Byte i of words."""
    return (word >> (8 * i)) & 255


@triton.jit
def _lane_bytes(pointer, block, piece, inside, PIECES: tl.constexpr, LANES: tl.constexpr):
    """[rows, groups, LANES] bytes of a field of PIECES times LANES: those of a piece."""
    at = pointer + ((block * PIECES + piece) * LANES)[:, :, None] + tl.arange(0, LANES)[None, None, :]
    return tl.load(at, inside[:, :, None], 0).to(tl.int32)


# Blocks of 32


@triton.jit
def _scale_0(planes, block, e, inside, PART: tl.constexpr):
    return _number(planes[0], block, inside)


@triton.jit
def _minimum_1(planes, block, e, inside, PART: tl.constexpr):
    return _number(planes[1], block, inside)


@triton.jit
def _q4_0(planes, q, block, e, inside, PART: tl.constexpr):
    return _less(_bits(q, PART, 4), 8)


@triton.jit
def _q4_1(planes, q, block, e, inside, PART: tl.constexpr):
    return _less(_bits(q, PART, 4), 0)


@triton.jit
def _fifth(qh, block, q, inside, PART: tl.constexpr):
    high = tl.load(qh + block, inside, 0)[:, :, None] >> (PART * 16 + tl.arange(0, 16))[None, None, :]
    return _bits(q, PART, 4) | ((high & 1) << 4)


@triton.jit
def _q5_0(planes, q, block, e, inside, PART: tl.constexpr):
    return _less(_fifth(planes[1], block, q, inside, PART), 16)


@triton.jit
def _q5_1(planes, q, block, e, inside, PART: tl.constexpr):
    return _less(_fifth(planes[2], block, q, inside, PART), 0)


@triton.jit
def _q8_0(planes, q, block, e, inside, PART: tl.constexpr):
    return q.to(tl.float32)


@triton.jit
def _e4m3(planes, q, block, e, inside, PART: tl.constexpr):
    """FP8 with four bits of exponent and three of mantissa: the top bits of a half but for the bias of its exponent, 2^(15 - 7)."""
    byte = q.to(tl.int32)
    half = (((byte & 0x80) << 8) | ((byte & 0x7F) << 7)).to(tl.int16).to(tl.float16, bitcast=True)
    return tl.where((byte & 0x7F) == 0x7F, float("nan"), half.to(tl.float32) * 256.0)


# Blocks of 256


@triton.jit
def _sixteenth(planes, block, e, inside, PART: tl.constexpr):
    """Q2_K's byte of scale and minimum: 8 bytes a run of 128 numbers, two for each part."""
    word = tl.load(planes[0] + block * 2 + e // 128, inside, 0)
    return _byte(word, PART * 2 + e % 32 // 16).to(tl.int32)


@triton.jit
def _scale_q2_k(planes, block, e, inside, PART: tl.constexpr):
    return _number(planes[2], block, inside) * (_sixteenth(planes, block, e, inside, PART) & 15).to(tl.float32)


@triton.jit
def _minimum_q2_k(planes, block, e, inside, PART: tl.constexpr):
    return -_number(planes[3], block, inside) * (_sixteenth(planes, block, e, inside, PART) >> 4).to(tl.float32)


@triton.jit
def _q2_k(planes, q, block, e, inside, PART: tl.constexpr):
    return _less(_bits(q, PART, 2), 0)


@triton.jit
def _scale_q3_k(planes, block, e, inside, PART: tl.constexpr):
    """Sixteen scales of 6 bits: four bits in a half of one of eight bytes, two in a quarter of one of four."""
    first = tl.load(planes[2] + block * 3 + PART // 2, inside, 0)
    last = tl.load(planes[2] + block * 3 + 2, inside, 0)
    run, odd = e // 128, e % 32 // 16
    low = (_byte(first, PART % 2 * 2 + odd) >> (4 * run)) & 15
    high = (_byte(last, PART % 2 * 2 + odd) >> (2 * (run * 2 + PART // 2))) & 3
    return _number(planes[3], block, inside) * ((low | (high << 4)) - 32).to(tl.float32)


@triton.jit
def _q3_k(planes, q, block, e, inside, PART: tl.constexpr):
    high = _lane_bytes(planes[0], block, e % 32 // 16, inside, 2, 16) >> (e // 128 * 4 + PART)[:, :, None]
    return _less(_bits(q, PART, 2) | ((high & 1) << 2), 4)


@triton.jit
def _six_bits(planes, block, e, inside, OWN: tl.constexpr, PART: tl.constexpr):
    """Q4_K's and Q5_K's scale (OWN 0) or minimum (OWN 1), of eight each in 12 bytes: four whole ones, then four split over two bytes."""
    which = e // 32 + PART
    own = _byte(tl.load(planes[2] + block * 3 + OWN, inside, 0), which % 4)
    last = _byte(tl.load(planes[2] + block * 3 + 2, inside, 0), which % 4)
    return tl.where(which < 4, own & 63, ((last >> (4 * OWN)) & 15) | ((own >> 6) << 4)).to(tl.float32)


@triton.jit
def _scale_q4_k(planes, block, e, inside, PART: tl.constexpr):
    return _number(planes[0], block, inside) * _six_bits(planes, block, e, inside, 0, PART)


@triton.jit
def _minimum_q4_k(planes, block, e, inside, PART: tl.constexpr):
    return -_number(planes[1], block, inside) * _six_bits(planes, block, e, inside, 1, PART)


@triton.jit
def _q5_k(planes, q, block, e, inside, PART: tl.constexpr):
    high = _lane_bytes(planes[3], block, 0, inside, 1, 32) >> (e // 32 + PART)[:, :, None]
    return _less(_bits(q, PART, 4) | ((high & 1) << 4), 0)


@triton.jit
def _scale_q6_k(planes, block, e, inside, PART: tl.constexpr):
    """Sixteen signed bytes: 8 a run of 128 numbers, four for each part."""
    word = tl.load(planes[2] + block * 2 + e // 128, inside, 0)
    scale = _byte(word, PART * 4 + e % 64 // 16).to(tl.int8)
    return _number(planes[3], block, inside) * scale.to(tl.float32)


@triton.jit
def _q6_k(planes, q, block, e, inside, PART: tl.constexpr):
    high = _lane_bytes(planes[1], block, e // 128 * 2 + e % 32 // 16, inside, 4, 16) >> (2 * (PART * 2 + e % 64 // 32))[:, :, None]
    return _less(_bits(q, PART, 4) | ((high & 3) << 4), 32)


# Values from tables


#: IQ4_VALUES, each 128 more, four to a word: a number is a byte of one of four words, chosen in registers.
_IQ4_A, _IQ4_B, _IQ4_C, _IQ4_D = (tl.constexpr(word) for word in (IQ4_VALUES + 128).astype(np.uint8).view("<i4").tolist())


@triton.jit
def _iq4(planes, q, block, e, inside, PART: tl.constexpr):
    i = _bits(q, PART, 4)
    word = tl.where((i & 8) == 0, tl.where((i & 4) == 0, _IQ4_A, _IQ4_B), tl.where((i & 4) == 0, _IQ4_C, _IQ4_D))
    return _less(_byte(word, i & 3), 128)


@triton.jit
def _scale_iq4_xs(planes, block, e, inside, PART: tl.constexpr):
    """Eight scales of 6 bits: four bits of a word of 32, two of one of 16."""
    which = e // 32
    low, high = tl.load(planes[2] + block, inside, 0) >> (4 * which), tl.load(planes[1] + block, inside, 0).to(tl.int32) >> (2 * which)
    return _number(planes[0], block, inside) * (((low & 15) | ((high & 3) << 4)) - 32).to(tl.float32)


@triton.jit
def _e2m1(planes, q, block, e, inside, PART: tl.constexpr):
    """Twice the number of four bits E2M1, which are the top bits of a half but for the bias of its exponent: 2^(15 - 1)."""
    i = _bits(q, PART, 4)
    half = (((i & 8) << 12) | ((i & 7) << 9)).to(tl.int16).to(tl.float16, bitcast=True)
    return half.to(tl.float32) * 32768.0


@triton.jit
def _scale_mxfp4(planes, block, e, inside, PART: tl.constexpr):
    """2^(exponent - 128), by its bits: those of an exponent of 0 and 1 are subnormal numbers."""
    exponent = tl.load(planes[0] + block, inside, 0).to(tl.int32)
    bits = tl.where(exponent < 2, 0x200000 << tl.minimum(exponent, 1), (exponent - 1) << 23)
    return bits.to(tl.float32, bitcast=True)


# The table


@dataclass(frozen=True)
class Tiles:
    """How a format is read: the plane of its quants, numbers in a byte and how far apart, lanes of a scale, and its functions."""

    quants: int
    parts: int
    run: int
    lanes: int
    values: Any
    scale: Any
    minimum: Any = None
    pairs: Any = None  #: numbers of words, where they follow from these alone


TILES: dict[str, Tiles] = {
    "Q4_0": Tiles(1, 2, 16, 16, _q4_0, _scale_0, pairs=pairs_4_centred),
    "Q4_1": Tiles(2, 2, 16, 16, _q4_1, _scale_0, _minimum_1, pairs_4),
    "Q5_0": Tiles(2, 2, 16, 16, _q5_0, _scale_0),
    "Q5_1": Tiles(3, 2, 16, 16, _q5_1, _scale_0, _minimum_1),
    "Q8_0": Tiles(1, 1, 32, 32, _q8_0, _scale_0, pairs=pairs_i8),
    "Q2_K": Tiles(1, 4, 32, 16, _q2_k, _scale_q2_k, _minimum_q2_k, pairs_2),
    "Q3_K": Tiles(1, 4, 32, 16, _q3_k, _scale_q3_k),
    "Q4_K": Tiles(3, 2, 32, 32, _q4_1, _scale_q4_k, _minimum_q4_k, pairs_4),
    "Q5_K": Tiles(4, 2, 32, 32, _q5_k, _scale_q4_k, _minimum_q4_k),
    "Q6_K": Tiles(0, 2, 64, 16, _q6_k, _scale_q6_k),
    "IQ4_NL": Tiles(1, 2, 16, 16, _iq4, _scale_0),
    "IQ4_XS": Tiles(3, 2, 16, 16, _iq4, _scale_iq4_xs),
    "MXFP4": Tiles(1, 2, 16, 16, _e2m1, _scale_mxfp4, pairs=pairs_e2m1),
    **{f"U4_{group}": Tiles(2, 2, 16, 16, _q4_1, _scale_0, _minimum_1, pairs_4) for group in (32, 64, 128)},
    **{f"U8_{group}": Tiles(2, 1, 32, 32, _q8_0, _scale_0, _minimum_1, pairs_u8) for group in (32, 64, 128)},
    **{f"I8_{group}": Tiles(1, 1, 32, 32, _q8_0, _scale_0, pairs=pairs_i8) for group in (32, 128)},
    **{f"E4M3_{group}": Tiles(1, 1, 32, 32, _e4m3, _scale_0) for group in (32, 128)},
}


def reading(format: Format) -> dict[str, Any]:
    """The arguments by which a kernel is told how a format of ``TILES`` is read."""
    tiles = TILES[format.name]
    return {
        "QUANTS": tiles.quants,
        "BLOCK": format.block,
        "PARTS": tiles.parts,
        "RUN": tiles.run,
        "LANES": tiles.lanes,
        "VALUES": tiles.values,
        "SCALE": tiles.scale,
        "MINIMUM": tiles.minimum,
    }


def reading_rows(format: Format) -> dict[str, Any]:
    """The same of a kernel that multiplies one row, which takes numbers of words where it can."""
    return {**reading(format), "PAIRS": TILES[format.name].pairs}
