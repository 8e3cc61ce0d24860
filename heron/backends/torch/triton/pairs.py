"""Numbers made two at a time of words of four bytes of quants, for kernels of one row, whose time arithmetic takes too.

Where numbers follow from quants alone: the first and third byte of a word are taken at once, and the second and fourth of the word shifted
by 8. They come as two halves (f16) in a word.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def halves(word):
    """The two halves (f16) of words, as float32."""
    low = word.to(tl.int16).to(tl.float16, bitcast=True).to(tl.float32)
    return low, (word >> 16).to(tl.int16).to(tl.float16, bitcast=True).to(tl.float32)


@triton.jit
def pairs_less(codes, ZERO: tl.constexpr):
    """Whole numbers below 1024, less ZERO: 0x6400 is 1024 in f16, whose last bits count ones."""
    low, high = halves(codes | 0x64006400)
    return low - (1024.0 + ZERO), high - (1024.0 + ZERO)


@triton.jit
def pairs_4(word, PART: tl.constexpr):
    return pairs_less((word >> (4 * PART)) & 0x000F000F, 0)


@triton.jit
def pairs_4_centred(word, PART: tl.constexpr):
    return pairs_less((word >> (4 * PART)) & 0x000F000F, 8)


@triton.jit
def pairs_2(word, PART: tl.constexpr):
    return pairs_less((word >> (2 * PART)) & 0x00030003, 0)


@triton.jit
def pairs_u8(word, PART: tl.constexpr):
    return pairs_less(word & 0x00FF00FF, 0)


@triton.jit
def pairs_i8(word, PART: tl.constexpr):
    return pairs_less((word & 0x00FF00FF) ^ 0x00800080, 128)


@triton.jit
def pairs_e2m1(word, PART: tl.constexpr):
    codes = word >> (4 * PART)
    low, high = halves(((codes & 0x00080008) << 12) | ((codes & 0x00070007) << 9))
    return low * 32768.0, high * 32768.0
