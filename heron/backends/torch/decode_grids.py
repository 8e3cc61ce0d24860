"""Decoders, on the device, of the formats whose elements are entries of a grid. Meanings: heron/quant/decode_grids.py."""

from __future__ import annotations

import torch
from torch import Tensor

from heron.backends.torch.bits import Decoder, entries, field, half, per_group, signs, signs_of_seven, split, unpack, words
from heron.quant.formats import Format


def _with_scale_on_top(packed: Tensor) -> tuple[Tensor, Tensor]:
    """int32 [..., 8] of four times seven bits of signs and, on top, four of the scale: signs [..., 256], scales [..., 8]."""
    return signs_of_seven(split(packed, 4, 7)), (packed >> 28 & 15).float()


def _iq2_xxs(f: Format, b: Tensor) -> Tensor:
    groups = field(f, b, "groups").unflatten(-1, (8, 8))
    minus, scales = _with_scale_on_top(words(groups[..., 4:], torch.int32)[..., 0])
    values = entries("IQ2_XXS", groups[..., :4].flatten(-2))
    return per_group(half(f, b, "d") * (0.5 + scales) * 0.25, values) * minus


def _iq2_scales(f: Format, b: Tensor) -> Tensor:
    return half(f, b, "d") * (0.5 + unpack(field(f, b, "scales"), 1, 4).float()) * 0.25


def _iq2_xs(f: Format, b: Tensor) -> Tensor:
    qs = words(field(f, b, "qs"), torch.int16)
    return per_group(_iq2_scales(f, b), entries("IQ2_XS", qs & 511)) * signs_of_seven(qs >> 9)


def _iq2_s(f: Format, b: Tensor) -> Tensor:
    index = field(f, b, "qs").int() | unpack(field(f, b, "qh"), 1, 2).int() << 8
    return per_group(_iq2_scales(f, b), entries("IQ2_S", index)) * signs(field(f, b, "signs"))


def _iq3_xxs(f: Format, b: Tensor) -> Tensor:
    minus, scales = _with_scale_on_top(words(field(f, b, "signs"), torch.int32))
    values = entries("IQ3_XXS", field(f, b, "qs"))
    return per_group(half(f, b, "d") * (0.5 + scales) * 0.5, values) * minus


def _iq3_s(f: Format, b: Tensor) -> Tensor:
    index = field(f, b, "qs").int() | unpack(field(f, b, "qh"), 1, 1).int() << 8
    scales = half(f, b, "d") * (1 + 2 * unpack(field(f, b, "scales"), 1, 4).float())
    return per_group(scales, entries("IQ3_S", index)) * signs(field(f, b, "signs"))


def _iq1(scales: Tensor, index: Tensor, minus: Tensor) -> Tensor:
    """Entries with their shift of an eighth: ``minus`` [..., G] says of each group of neighbours whether it is taken away."""
    values = entries("IQ1_S", index).unflatten(-1, (minus.shape[-1], -1))
    return per_group(scales, (values + torch.where(minus, -0.125, 0.125)[..., None]).flatten(-2))


def _iq1_s(f: Format, b: Tensor) -> Tensor:
    qh = words(field(f, b, "qh"), torch.int16)
    index = field(f, b, "qs").int() | split(qh, 4, 3) << 8
    return _iq1(half(f, b, "d") * (2 * (qh >> 12 & 7) + 1).float(), index, qh >= 0x8000)


def _iq1_m(f: Format, b: Tensor) -> Tensor:
    packed = words(field(f, b, "scales"), torch.int16)
    d = ((packed >> 12) << torch.arange(0, 16, 4, device=b.device)).sum(-1, keepdim=True, dtype=torch.int32)
    scales = d.to(torch.int16).view(torch.float16).float() * (2 * split(packed, 4, 3) + 1).float()
    high = unpack(field(f, b, "qh"), 1, 4)
    return _iq1(scales, field(f, b, "qs").int() | (high & 7).int() << 8, high >= 8)


GRIDS: dict[str, Decoder] = {
    "IQ2_XXS": _iq2_xxs,
    "IQ2_XS": _iq2_xs,
    "IQ2_S": _iq2_s,
    "IQ3_XXS": _iq3_xxs,
    "IQ3_S": _iq3_s,
    "IQ1_S": _iq1_s,
    "IQ1_M": _iq1_m,
}
