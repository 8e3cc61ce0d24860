"""Decoders of the formats that only quantized HF checkpoints have (see dequantize.py), and the tables that they look values up in."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from heron.quant.bits import Blocks, Floats, f32, unpack

_BYTES = np.arange(256)


def _e4m3() -> Floats:
    """The numbers of FP8 with four bits of exponent (bias 7) and three of mantissa: no infinities, NaN at 0x7F and 0xFF."""
    exponent, mantissa = _BYTES >> 3 & 15, _BYTES & 7
    values = np.where(exponent == 0, np.ldexp(mantissa / 8, -6), np.ldexp(1 + mantissa / 8, exponent - 7))
    values[_BYTES & 0x7F == 0x7F] = np.nan
    return np.where(_BYTES < 128, values, -values).astype(np.float32)


#: Each byte's number. E5M2 is the first half of an f16, E8M0 a power of two.
E4M3 = _e4m3()
E5M2: Floats = (_BYTES.astype("<u2") << 8).astype("<u2").view("<f2").astype(np.float32)
E8M0: Floats = np.where(_BYTES == 255, np.nan, np.ldexp(1.0, _BYTES - 127)).astype(np.float32)

#: NormalFloat (Dettmers et al. 2023): 16 quantiles of a normal distribution, scaled to [-1, 1], as bitsandbytes gives them in f32.
NF4 = np.array(
    [
        *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453),
        *(-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0),
        *(0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224),
        *(0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
    ],
    np.float32,
)

#: bitsandbytes' own four-bit float: a sign, then 0, 1/192 and two digits at three exponents, scaled to [-1, 1].
FP4 = np.array([0, 1 / 192, 2 / 3, 1, 1 / 3, 1 / 2, 1 / 6, 1 / 4, 0, -1 / 192, -2 / 3, -1, -1 / 3, -1 / 2, -1 / 6, -1 / 4], np.float32)


def _plain_by(table: Floats) -> Callable[[Blocks], Floats]:
    return lambda b: table[b][:, None]


def _affine(codes: Callable[[Blocks], NDArray[np.uint8]]) -> Callable[[Blocks], Floats]:
    return lambda b: f32(b["d"]) * codes(b).astype(np.float32) + f32(b["m"])


def _two_bits(b: Blocks) -> NDArray[np.uint8]:
    return unpack(b["qs"], 8, 2)


def _three_bits(b: Blocks) -> NDArray[np.uint8]:
    return unpack(b["qs"], 8, 2) | unpack(b["qh"], 4, 1) << np.uint8(2)


def _four_bits(b: Blocks) -> NDArray[np.uint8]:
    return unpack(b["qs"], 16, 4)


def _eight_bits(b: Blocks) -> NDArray[np.uint8]:
    return np.asarray(b["qs"])


def _signed(b: Blocks) -> Floats:
    return f32(b["d"]) * b["qs"].astype(np.float32)


def _scaled_by(table: Floats) -> Callable[[Blocks], Floats]:
    return lambda b: f32(b["d"]) * table[b["qs"]]


def _four_bits_by(table: Floats) -> Callable[[Blocks], Floats]:
    return lambda b: f32(b["d"]) * table[unpack(b["qs"], 16, 4)]


_CODES = {2: _two_bits, 3: _three_bits, 4: _four_bits, 8: _eight_bits}

DECODERS: dict[str, Callable[[Blocks], Floats]] = {
    "F8_E4M3": _plain_by(E4M3),
    "F8_E5M2": _plain_by(E5M2),
    "F8_E8M0": _plain_by(E8M0),
    **{f"U{bits}_{group}": _affine(codes) for bits, codes in _CODES.items() for group in (32, 64, 128)},
    "I8_32": _signed,
    "I8_128": _signed,
    "E4M3_32": _scaled_by(E4M3),
    "E4M3_128": _scaled_by(E4M3),
    "NF4_64": _four_bits_by(NF4),
    "FP4_64": _four_bits_by(FP4),
}
