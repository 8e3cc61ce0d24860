"""Decoders, on the device, of the formats that only quantized HF checkpoints have. Meanings: heron/quant/decode_own.py."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from heron.backends.torch.bits import Decoder, field, lookup, single, unpack
from heron.quant.formats import Format

#: Codes [..., block] of the affine formats, by their bits.
_CODES: dict[int, Callable[[Format, Tensor], Tensor]] = {
    2: lambda f, b: unpack(field(f, b, "qs"), 8, 2),
    3: lambda f, b: unpack(field(f, b, "qs"), 8, 2) | (unpack(field(f, b, "qh"), 4, 1) << 2),
    4: lambda f, b: unpack(field(f, b, "qs"), 16, 4),
    8: lambda f, b: field(f, b, "qs"),
}


def _affine(codes: Callable[[Format, Tensor], Tensor]) -> Decoder:
    return lambda f, b: single(f, b, "d") * codes(f, b).float() + single(f, b, "m")


def _signed(f: Format, b: Tensor) -> Tensor:
    return single(f, b, "d") * field(f, b, "qs").view(torch.int8).float()


def _e4m3(f: Format, b: Tensor) -> Tensor:
    return single(f, b, "d") * lookup("e4m3", field(f, b, "qs"))


def _four_bits_by(name: str) -> Decoder:
    return lambda f, b: single(f, b, "d") * lookup(name, unpack(field(f, b, "qs"), 16, 4))


OWN: dict[str, Decoder] = {
    **{f"U{bits}_{group}": _affine(codes) for bits, codes in _CODES.items() for group in (32, 64, 128)},
    "I8_32": _signed,
    "I8_128": _signed,
    "E4M3_32": _e4m3,
    "E4M3_128": _e4m3,
    "NF4_64": _four_bits_by("nf4"),
    "FP4_64": _four_bits_by("fp4"),
}
