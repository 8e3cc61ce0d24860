"""What decoders of blocks are made of: blocks are a structured array [B], each field [B] or [B, bytes]."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Blocks = NDArray[Any]
Floats = NDArray[np.float32]

#: The 16 numbers of four bits E2M1, doubled so that all are whole; scales of the formats that have them are halved in return.
E2M1_DOUBLED = np.array([0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12], np.float32)


def f32(field: NDArray[Any]) -> Floats:
    """A scale per block [B] as float32 [B, 1]."""
    return field.astype(np.float32)[:, None]


def unpack(packed: NDArray[np.uint8], run: int, bits: int) -> NDArray[np.uint8]:
    """[B, bytes] -> [B, values]: each run of `run` bytes holds its lowest `bits` bits first, then the next, ..."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)[:, None]
    lanes = packed.reshape(len(packed), -1, 1, run) >> shifts
    return (lanes & np.uint8((1 << bits) - 1)).reshape(len(packed), -1)


def split(words: NDArray[Any], count: int, bits: int) -> NDArray[Any]:
    """[B, words] -> [B, words * count]: each word holds `count` numbers of `bits` bits, the first lowest."""
    shifts = np.arange(0, count * bits, bits, dtype=words.dtype)
    return ((words[:, :, None] >> shifts) & words.dtype.type((1 << bits) - 1)).reshape(len(words), -1)


def per_group(scales: Floats, values: NDArray[Any]) -> Floats:
    """Scales [B, G] times values [B, n], each scale over n/G neighbours."""
    groups = scales.shape[1]
    return (scales[:, :, None] * values.reshape(len(values), groups, -1).astype(np.float32)).reshape(len(values), -1)
