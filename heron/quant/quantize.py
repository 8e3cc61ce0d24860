"""From float32 to stored blocks, by ggml's published rounding rules, so that files are equal byte for byte.

Each encoder takes float32 [B, block] and fills a structured array [B] with the fields of formats.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from heron.errors import UnsupportedError
from heron.quant.formats import Format

_CHUNK_ELEMENTS = 1 << 18


def quantize(fmt: Format, values: ArrayLike) -> NDArray[np.uint8]:
    """Encode rows: float32 [..., n] -> uint8 [..., row_bytes].

    Raises UnsupportedError for a format without an encoder, CheckpointError when n is not a whole number of blocks.
    """
    encode = _ENCODERS.get(fmt.name)
    if encode is None:
        raise UnsupportedError(f"this version of Heron cannot write {fmt.name} tensors; it writes {', '.join(_ENCODERS)}")
    array = np.ascontiguousarray(values, dtype=np.float32)
    row_bytes = fmt.row_bytes(array.shape[-1])
    blocks = array.reshape(-1, fmt.block)
    out = np.empty(len(blocks), fmt.layout)
    step = max(1, _CHUNK_ELEMENTS // fmt.block)
    # Overflow to infinity and blocks of zeros (or of infinities) are answers, not accidents.
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        for start in range(0, len(blocks), step):
            encode(blocks[start : start + step], out[start : start + step])
    return out.view(np.uint8).reshape(*array.shape[:-1], row_bytes)


def _plain(x: NDArray[np.float32], out: NDArray[Any]) -> None:
    out[:] = x[:, 0]


def _bf16(x: NDArray[np.float32], out: NDArray[Any]) -> None:
    bits = x[:, 0].view(np.uint32)
    nan = np.isnan(x[:, 0])
    rounded = (bits + (np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1)))) >> np.uint32(16)  # to nearest, ties to even
    out[:] = np.where(nan, bits >> np.uint32(16) | np.uint32(0x40), rounded)  # a NaN stays one, and quiet


def _reciprocal(d: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.where(d == 0, np.float32(0), np.float32(1) / d)


def _q4_0(x: NDArray[np.float32], out: NDArray[Any]) -> None:
    extreme = np.take_along_axis(x, np.abs(x).argmax(axis=1)[:, None], axis=1)
    d = extreme / np.float32(-8)  # the extreme becomes -8, the one code without a positive twin
    q = np.trunc(x * _reciprocal(d) + np.float32(8.5)).astype(np.uint8).clip(0, 15)
    out["d"] = d[:, 0]
    out["qs"] = q[:, :16] | q[:, 16:] << np.uint8(4)


def _q8_0(x: NDArray[np.float32], out: NDArray[Any]) -> None:
    d = np.abs(x).max(axis=1, keepdims=True) / np.float32(127)
    scaled = x * _reciprocal(d)
    magnitude = np.abs(scaled)
    whole = np.floor(magnitude)
    rounded = whole + (magnitude - whole >= np.float32(0.5))  # half away from zero
    out["d"] = d[:, 0]
    out["qs"] = np.copysign(rounded, scaled)


_ENCODERS: dict[str, Callable[[NDArray[np.float32], NDArray[Any]], None]] = {
    "F32": _plain,
    "F16": _plain,
    "BF16": _bf16,
    "Q4_0": _q4_0,
    "Q8_0": _q8_0,
}
