"""From stored blocks to numbers, on the device: the formats that weights keep there. Meanings: heron/quant/dequantize.py.

A decoder takes blocks, uint8 [..., bytes], and gives float32 [..., block]; what lies where in a block is the format's own layout.
"""

from __future__ import annotations

import torch
from torch import Tensor

from heron.backends.torch.bits import Decoder, field, half, lookup, per_group, unpack
from heron.backends.torch.decode_grids import GRIDS
from heron.backends.torch.decode_own import OWN
from heron.quant.formats import FORMATS, Format


def dequantize(format: Format, raw: Tensor) -> Tensor:
    """Rows uint8 [..., row bytes] -> float32 [..., n]; formats in ``DECODERS``."""
    blocks = raw.reshape(*raw.shape[:-1], -1, format.bytes)
    return DECODERS[format.name](format, blocks).flatten(-2)


def quantize_q8_0(values: Tensor) -> Tensor:
    """float32 [..., n] -> uint8 [..., row bytes], n a multiple of 32: 32 signed bytes behind a scale in f16."""
    blocks = values.reshape(*values.shape[:-1], -1, 32)
    scale = blocks.abs().amax(-1, keepdim=True) / 127
    scaled = blocks * torch.where(scale > 0, 1 / scale, torch.zeros_like(scale))
    rounded = (scaled.abs() + 0.5).floor() * scaled.sign()  # halves away from zero
    parts = (scale.half().view(torch.uint8), rounded.to(torch.int8).view(torch.uint8))
    return torch.cat(parts, -1).flatten(-2)


def _q4_0(f: Format, b: Tensor) -> Tensor:
    return half(f, b, "d") * (unpack(field(f, b, "qs"), 16, 4).float() - 8)


def _q4_1(f: Format, b: Tensor) -> Tensor:
    return half(f, b, "d") * unpack(field(f, b, "qs"), 16, 4).float() + half(f, b, "m")


def _fifth_bits(f: Format, b: Tensor) -> Tensor:
    return (unpack(field(f, b, "qs"), 16, 4) | (unpack(field(f, b, "qh"), 1, 1) << 4)).float()


def _q5_0(f: Format, b: Tensor) -> Tensor:
    return half(f, b, "d") * (_fifth_bits(f, b) - 16)


def _q5_1(f: Format, b: Tensor) -> Tensor:
    return half(f, b, "d") * _fifth_bits(f, b) + half(f, b, "m")


def _q8_0(f: Format, b: Tensor) -> Tensor:
    return half(f, b, "d") * field(f, b, "qs").view(torch.int8).float()


def _q2_k(f: Format, b: Tensor) -> Tensor:
    packed = field(f, b, "scales")
    scales, minima = half(f, b, "d") * (packed & 15).float(), half(f, b, "dmin") * (packed >> 4).float()
    return per_group(scales, unpack(field(f, b, "qs"), 32, 2)) - minima.repeat_interleave(16, -1)


def _q3_k(f: Format, b: Tensor) -> Tensor:
    packed = field(f, b, "scales")
    scales = (unpack(packed[..., :8], 8, 4) | (unpack(packed[..., 8:], 4, 2) << 4)).float() - 32
    # A set high bit means "nothing to subtract".
    values = unpack(field(f, b, "qs"), 32, 2).float() - 4 * (1 - unpack(field(f, b, "qh"), 32, 1).float())
    return per_group(half(f, b, "d") * scales, values)


def _scales_and_minima(f: Format, b: Tensor) -> tuple[Tensor, Tensor]:
    """The eight 6-bit scales and minima of Q4_K and Q5_K: four whole ones, then four split over two bytes."""
    first, second, last = field(f, b, "scales").split(4, -1)
    scales = torch.cat([first & 63, (last & 15) | (first >> 6 << 4)], -1)
    minima = torch.cat([second & 63, (last >> 4) | (second >> 6 << 4)], -1)
    return half(f, b, "d") * scales.float(), half(f, b, "dmin") * minima.float()


def _q4_k(f: Format, b: Tensor) -> Tensor:
    scales, minima = _scales_and_minima(f, b)
    return per_group(scales, unpack(field(f, b, "qs"), 32, 4)) - minima.repeat_interleave(32, -1)


def _q5_k(f: Format, b: Tensor) -> Tensor:
    scales, minima = _scales_and_minima(f, b)
    values = unpack(field(f, b, "qs"), 32, 4) | (unpack(field(f, b, "qh"), 32, 1) << 4)
    return per_group(scales, values) - minima.repeat_interleave(32, -1)


def _q6_k(f: Format, b: Tensor) -> Tensor:
    values = unpack(field(f, b, "ql"), 64, 4) | (unpack(field(f, b, "qh"), 32, 2) << 4)
    return per_group(half(f, b, "d") * field(f, b, "scales").view(torch.int8).float(), values.float() - 32)


def _iq4_nl(f: Format, b: Tensor) -> Tensor:
    return half(f, b, "d") * lookup("iq4", unpack(field(f, b, "qs"), 16, 4))


def _iq4_xs(f: Format, b: Tensor) -> Tensor:
    low, high = unpack(field(f, b, "scales_l"), 1, 4), unpack(field(f, b, "scales_h"), 1, 2)
    scales = (low | (high << 4)).float() - 32
    return per_group(half(f, b, "d") * scales, lookup("iq4", unpack(field(f, b, "qs"), 16, 4)))


def _mxfp4(f: Format, b: Tensor) -> Tensor:
    # 2^(e - 128), by its bits: an exponent of 0 and of -1 is a subnormal number.
    exponent = field(f, b, "e").int()
    bits = torch.where(exponent < 2, 0x200000 << exponent.clamp(max=1), (exponent - 1).clamp(min=0) << 23)
    return bits.view(torch.float32) * lookup("e2m1", unpack(field(f, b, "qs"), 16, 4))


def _trits(packed: Tensor, digits: int) -> Tensor:
    """Base-3 digits of bytes that hold them as a fraction of 256: multiply by 3^k modulo 256, keep the next digit."""
    powers = torch.tensor([3**k for k in range(digits)], dtype=torch.int32, device=packed.device)[:, None]
    return ((packed[..., None, :].int() * powers & 255) * 3 >> 8).flatten(-2)


def _tq1_0(f: Format, b: Tensor) -> Tensor:
    qs = field(f, b, "qs")
    digits = torch.cat([_trits(qs[..., :32], 5), _trits(qs[..., 32:], 5), _trits(field(f, b, "qh"), 4)], -1)
    return half(f, b, "d") * (digits.float() - 1)


def _tq2_0(f: Format, b: Tensor) -> Tensor:
    return half(f, b, "d") * (unpack(field(f, b, "qs"), 32, 2).float() - 1)


def _nvfp4(f: Format, b: Tensor) -> Tensor:
    packed = field(f, b, "scales").int()
    exponent, mantissa = packed >> 3 & 15, (packed & 7).float()
    scales = torch.where(exponent == 0, mantissa / 1024, torch.ldexp(1 + mantissa / 8, exponent - 8))
    scales = torch.where(packed == 0x7F, 0, scales)  # E4M3's NaN
    return per_group(scales, lookup("e2m1", unpack(field(f, b, "qs"), 8, 4)))


def _q1_0(f: Format, b: Tensor) -> Tensor:
    return half(f, b, "d") * (2 * unpack(field(f, b, "qs"), 1, 1).float() - 1)


def _q2_0(f: Format, b: Tensor) -> Tensor:
    return half(f, b, "d") * (unpack(field(f, b, "qs"), 1, 2).float() - 1)


DECODERS: dict[str, Decoder] = {
    "Q4_0": _q4_0,
    "Q4_1": _q4_1,
    "Q5_0": _q5_0,
    "Q5_1": _q5_1,
    "Q8_0": _q8_0,
    "Q2_K": _q2_k,
    "Q3_K": _q3_k,
    "Q4_K": _q4_k,
    "Q5_K": _q5_k,
    "Q6_K": _q6_k,
    "IQ4_NL": _iq4_nl,
    "IQ4_XS": _iq4_xs,
    "MXFP4": _mxfp4,
    "NVFP4": _nvfp4,
    "TQ1_0": _tq1_0,
    "TQ2_0": _tq2_0,
    "Q1_0": _q1_0,
    "Q2_0": _q2_0,
    **GRIDS,
    **OWN,
}

Q8_0 = FORMATS["Q8_0"]
