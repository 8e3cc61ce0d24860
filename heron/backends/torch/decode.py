"""From stored blocks to numbers, on the device: the formats that weights keep there. Meanings: heron/quant/dequantize.py.

A decoder takes blocks, uint8 [..., bytes], and gives float32 [..., block]; what lies where in a block is the format's own layout.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from heron.quant.bits import E2M1_DOUBLED
from heron.quant.dequantize import IQ4_VALUES
from heron.quant.formats import FORMATS, Format

Decoder = Callable[[Format, Tensor], Tensor]


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


def _bytes(format: Format, blocks: Tensor, name: str) -> Tensor:
    """[..., bytes] of a field."""
    assert format.layout.fields is not None
    field, offset = format.layout.fields[name][:2]
    return blocks[..., offset : offset + field.itemsize]


def _half(format: Format, blocks: Tensor, name: str) -> Tensor:
    """A scale [..., 1]."""
    return _bytes(format, blocks, name).contiguous().view(torch.float16).float()


def _unpack(packed: Tensor, run: int, bits: int) -> Tensor:
    """[..., bytes] -> [..., values]: each run of ``run`` bytes holds its lowest ``bits`` bits first, then the next, ..."""
    shifts = torch.arange(0, 8, bits, dtype=torch.uint8, device=packed.device)[:, None]
    lanes = packed.reshape(*packed.shape[:-1], -1, 1, run) >> shifts
    return (lanes & ((1 << bits) - 1)).flatten(-3)


def _per_group(scales: Tensor, values: Tensor) -> Tensor:
    """Scales [..., G] times values [..., n], each scale over n/G neighbours."""
    return (scales[..., None] * values.unflatten(-1, (scales.shape[-1], -1)).float()).flatten(-2)


@cache
def _values(name: str, device: torch.device) -> Tensor:
    return torch.tensor({"iq4": IQ4_VALUES, "e2m1": E2M1_DOUBLED}[name].tolist(), device=device)


def _lookup(name: str, index: Tensor) -> Tensor:
    return _values(name, index.device)[index.int()]


def _q4_0(f: Format, b: Tensor) -> Tensor:
    return _half(f, b, "d") * (_unpack(_bytes(f, b, "qs"), 16, 4).float() - 8)


def _q4_1(f: Format, b: Tensor) -> Tensor:
    return _half(f, b, "d") * _unpack(_bytes(f, b, "qs"), 16, 4).float() + _half(f, b, "m")


def _fifth_bits(f: Format, b: Tensor) -> Tensor:
    return (_unpack(_bytes(f, b, "qs"), 16, 4) | (_unpack(_bytes(f, b, "qh"), 1, 1) << 4)).float()


def _q5_0(f: Format, b: Tensor) -> Tensor:
    return _half(f, b, "d") * (_fifth_bits(f, b) - 16)


def _q5_1(f: Format, b: Tensor) -> Tensor:
    return _half(f, b, "d") * _fifth_bits(f, b) + _half(f, b, "m")


def _q8_0(f: Format, b: Tensor) -> Tensor:
    return _half(f, b, "d") * _bytes(f, b, "qs").view(torch.int8).float()


def _q2_k(f: Format, b: Tensor) -> Tensor:
    packed = _bytes(f, b, "scales")
    scales, minima = _half(f, b, "d") * (packed & 15).float(), _half(f, b, "dmin") * (packed >> 4).float()
    return _per_group(scales, _unpack(_bytes(f, b, "qs"), 32, 2)) - minima.repeat_interleave(16, -1)


def _q3_k(f: Format, b: Tensor) -> Tensor:
    packed = _bytes(f, b, "scales")
    scales = (_unpack(packed[..., :8], 8, 4) | (_unpack(packed[..., 8:], 4, 2) << 4)).float() - 32
    # A set high bit means "nothing to subtract".
    values = _unpack(_bytes(f, b, "qs"), 32, 2).float() - 4 * (1 - _unpack(_bytes(f, b, "qh"), 32, 1).float())
    return _per_group(_half(f, b, "d") * scales, values)


def _scales_and_minima(f: Format, b: Tensor) -> tuple[Tensor, Tensor]:
    """The eight 6-bit scales and minima of Q4_K and Q5_K: four whole ones, then four split over two bytes."""
    first, second, last = _bytes(f, b, "scales").split(4, -1)
    scales = torch.cat([first & 63, (last & 15) | (first >> 6 << 4)], -1)
    minima = torch.cat([second & 63, (last >> 4) | (second >> 6 << 4)], -1)
    return _half(f, b, "d") * scales.float(), _half(f, b, "dmin") * minima.float()


def _q4_k(f: Format, b: Tensor) -> Tensor:
    scales, minima = _scales_and_minima(f, b)
    return _per_group(scales, _unpack(_bytes(f, b, "qs"), 32, 4)) - minima.repeat_interleave(32, -1)


def _q5_k(f: Format, b: Tensor) -> Tensor:
    scales, minima = _scales_and_minima(f, b)
    values = _unpack(_bytes(f, b, "qs"), 32, 4) | (_unpack(_bytes(f, b, "qh"), 32, 1) << 4)
    return _per_group(scales, values) - minima.repeat_interleave(32, -1)


def _q6_k(f: Format, b: Tensor) -> Tensor:
    values = _unpack(_bytes(f, b, "ql"), 64, 4) | (_unpack(_bytes(f, b, "qh"), 32, 2) << 4)
    return _per_group(_half(f, b, "d") * _bytes(f, b, "scales").view(torch.int8).float(), values.float() - 32)


def _iq4_nl(f: Format, b: Tensor) -> Tensor:
    return _half(f, b, "d") * _lookup("iq4", _unpack(_bytes(f, b, "qs"), 16, 4))


def _iq4_xs(f: Format, b: Tensor) -> Tensor:
    low, high = _unpack(_bytes(f, b, "scales_l"), 1, 4), _unpack(_bytes(f, b, "scales_h"), 1, 2)
    scales = (low | (high << 4)).float() - 32
    return _per_group(_half(f, b, "d") * scales, _lookup("iq4", _unpack(_bytes(f, b, "qs"), 16, 4)))


def _mxfp4(f: Format, b: Tensor) -> Tensor:
    # 2^(e - 128), by its bits: an exponent of 0 and of -1 is a subnormal number.
    exponent = _bytes(f, b, "e").int()
    bits = torch.where(exponent < 2, 0x200000 << exponent.clamp(max=1), (exponent - 1).clamp(min=0) << 23)
    return bits.view(torch.float32) * _lookup("e2m1", _unpack(_bytes(f, b, "qs"), 16, 4))


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
}

Q8_0 = FORMATS["Q8_0"]
