"""Codes out of words, packed as libraries pack them: one after another, lowest bits first, across the ends of words."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from heron.checkpoint.quantized.parts import Codes


def unpack(words: NDArray[np.unsignedinteger], bits: int) -> Codes:
    """Words of 32 bits [n, ...], packed along the first axis -> codes [32 n / bits, ...]. Widths that straddle words go 32 at a time."""
    n, rest = len(words), words.shape[1:]
    mask = np.uint32((1 << bits) - 1)
    if 32 % bits == 0:
        codes = np.empty((n, 32 // bits, *rest), np.uint8)
        for i in range(32 // bits):
            codes[:, i] = words >> np.uint32(bits * i) & mask
    else:
        runs = -(-n // bits)
        whole = np.concatenate([words, np.zeros((runs * bits - n, *rest), np.uint32)]).reshape(runs, bits, *rest)
        codes = np.empty((runs, 32, *rest), np.uint8)
        for i in range(32):
            word, shift = divmod(bits * i, 32)
            value = whole[:, word] >> np.uint32(shift)
            if shift + bits > 32:
                value = value | whole[:, word + 1] << np.uint32(32 - shift)
            codes[:, i] = value & mask
    return codes.reshape(-1, *rest)


def unpack_rows(words: NDArray[np.unsignedinteger], bits: int, width: int) -> Codes:
    """Words [rows, n], packed along rows -> codes [rows, width]."""
    if bits == 8:
        return np.ascontiguousarray(words).view(np.uint8)[:, :width]
    if bits in (2, 4):  # no bits of a code are in two bytes
        packed = np.ascontiguousarray(words).view(np.uint8)
        codes = np.empty((*packed.shape, 8 // bits), np.uint8)
        for i in range(8 // bits):
            codes[..., i] = packed >> np.uint8(bits * i) & np.uint8((1 << bits) - 1)
        return codes.reshape(len(words), -1)[:, :width]
    return unpack(words.T, bits).T[:, :width]


def packed_length(count: int, bits: int) -> int:
    """Words of 32 bits that so many codes take."""
    return -(-count * bits // 32)
