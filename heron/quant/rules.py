"""From float32 to stored blocks in numpy, by ggml's published rounding rules, so that files are equal byte for byte.

The core does the same (csrc/quantize_rules.inc), faster, and searches for better ones (quantize.py).

Each encoder takes float32 [B, block] and fills a structured array [B] with the fields of formats.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from heron.errors import UnsupportedError
from heron.quant.bits import E2M1_DOUBLED
from heron.quant.formats import Format

_CHUNK_ELEMENTS = 1 << 18


def encode(fmt: Format, values: ArrayLike) -> NDArray[np.uint8]:
    """Encode rows: float32 [..., n] -> uint8 [..., row_bytes].

    Raises UnsupportedError for a format whose blocks follow from no rule, CheckpointError when n is not a whole number of blocks.
    """
    encode_blocks = _ENCODERS.get(fmt.name)
    if encode_blocks is None:
        raise UnsupportedError(
            f"no rule makes {fmt.name} blocks, and the compiled core has no search for them here; rules make {', '.join(_ENCODERS)}"
        )
    array = np.ascontiguousarray(values, dtype=np.float32)
    row_bytes = fmt.row_bytes(array.shape[-1])
    blocks = array.reshape(-1, fmt.block)
    out = np.empty(len(blocks), fmt.layout)
    step = max(1, _CHUNK_ELEMENTS // fmt.block)
    # Overflow to infinity and blocks of zeros (or of infinities) are answers, not accidents.
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        for start in range(0, len(blocks), step):
            encode_blocks(blocks[start : start + step], out[start : start + step])
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


def _nibbles(q: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """[B, 32] -> [B, 16]: the first half of the elements low, the second high."""
    return q[:, :16] & np.uint8(15) | q[:, 16:] << np.uint8(4)


def _signed_codes(x: NDArray[np.float32], out: NDArray[Any], half: int) -> NDArray[np.uint8]:
    """Codes 0 .. 2 * half - 1 of x: the extreme becomes -half, the one code without a positive twin."""
    d = np.take_along_axis(x, np.abs(x).argmax(axis=1)[:, None], axis=1) / np.float32(-half)
    out["d"] = d[:, 0]
    return np.trunc(x * _reciprocal(d) + np.float32(half + 0.5)).astype(np.uint8).clip(0, 2 * half - 1)


def _codes_over_minimum(x: NDArray[np.float32], out: NDArray[Any], most: int) -> NDArray[np.uint8]:
    """Codes 0 .. most of x, from its minimum to its maximum."""
    least = x.min(axis=1, keepdims=True)
    d = (x.max(axis=1, keepdims=True) - least) / np.float32(most)
    out["d"], out["m"] = d[:, 0], least[:, 0]
    return np.trunc((x - least) * _reciprocal(d) + np.float32(0.5)).astype(np.uint8).clip(0, most)


def _q4_0(x: NDArray[np.float32], out: NDArray[Any]) -> None:
    out["qs"] = _nibbles(_signed_codes(x, out, 8))


def _q4_1(x: NDArray[np.float32], out: NDArray[Any]) -> None:
    out["qs"] = _nibbles(_codes_over_minimum(x, out, 15))


def _fifth_bits(q: NDArray[np.uint8]) -> NDArray[np.uint32]:
    return np.packbits(q >> np.uint8(4), axis=1, bitorder="little").view("<u4")[:, 0]


def _q5_0(x: NDArray[np.float32], out: NDArray[Any]) -> None:
    q = _signed_codes(x, out, 16)
    out["qs"], out["qh"] = _nibbles(q), _fifth_bits(q)


def _q5_1(x: NDArray[np.float32], out: NDArray[Any]) -> None:
    q = _codes_over_minimum(x, out, 31)
    out["qs"], out["qh"] = _nibbles(q), _fifth_bits(q)


def _rounded(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """To whole numbers, halves away from zero."""
    magnitude = np.abs(x)
    whole = np.floor(magnitude)
    return np.copysign(whole + (magnitude - whole >= np.float32(0.5)), x)


def _q8_0(x: NDArray[np.float32], out: NDArray[Any]) -> None:
    d = np.abs(x).max(axis=1, keepdims=True) / np.float32(127)
    out["d"], out["qs"] = d[:, 0], _rounded(x * _reciprocal(d))


def _trits(x: NDArray[np.float32], out: NDArray[Any]) -> NDArray[np.uint8]:
    """0, 1 or 2 for -1, 0 and 1 times the largest magnitude."""
    d = np.abs(x).max(axis=1, keepdims=True)
    out["d"] = d[:, 0]
    return (_rounded(x * _reciprocal(d)).astype(np.int8) + np.int8(1)).astype(np.uint8)


def _as_fraction(trits: NDArray[np.uint8], run: int) -> NDArray[np.uint8]:
    """[B, n] -> [B, run]: byte i holds trits i, i + run, ... as a fraction of 256, rounded up."""
    digits = trits.reshape(len(trits), -1, run)
    powers = 3 ** np.arange(4, 4 - digits.shape[1], -1)
    return ((digits * powers[:, None]).sum(axis=1) * 256 + 242 & 0xFFFF) // 243


def _tq1_0(x: NDArray[np.float32], out: NDArray[Any]) -> None:
    trits = _trits(x, out)
    out["qs"][:, :32], out["qs"][:, 32:] = _as_fraction(trits[:, :160], 32), _as_fraction(trits[:, 160:240], 16)
    out["qh"] = _as_fraction(trits[:, 240:], 4)


def _tq2_0(x: NDArray[np.float32], out: NDArray[Any]) -> None:
    quarters = _trits(x, out).reshape(len(x), 2, 4, 32) << np.arange(0, 8, 2, dtype=np.uint8)[:, None]
    out["qs"] = np.bitwise_or.reduce(quarters, axis=2).reshape(len(x), 64)


def _mxfp4(x: NDArray[np.float32], out: NDArray[Any]) -> None:
    most = np.abs(x).max(axis=1)
    # The exponent that makes the largest magnitude 4 to 8. As gguf-py has it, below 2^-125 it wraps: the block becomes zeros.
    exponent = np.where(most > 0, np.floor(np.log2(most)) + 125, 0).astype(np.int32).astype(np.uint8)
    scale = np.ldexp(np.float32(1), exponent.astype(np.int32) - 128)
    errors = np.abs(scale[:, None, None] * E2M1_DOUBLED - x[:, :, None])
    out["e"], out["qs"] = exponent, _nibbles(errors.argmin(axis=2).astype(np.uint8))


_ENCODERS: dict[str, Callable[[NDArray[np.float32], NDArray[Any]], None]] = {
    "F32": _plain,
    "F16": _plain,
    "BF16": _bf16,
    "Q4_0": _q4_0,
    "Q4_1": _q4_1,
    "Q5_0": _q5_0,
    "Q5_1": _q5_1,
    "Q8_0": _q8_0,
    "TQ1_0": _tq1_0,
    "TQ2_0": _tq2_0,
    "MXFP4": _mxfp4,
}
