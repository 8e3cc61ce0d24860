"""What decoders of blocks are made of, on the device: blocks are uint8 [..., bytes]. Their like in numpy: heron/quant/bits.py."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from torch import Tensor

from heron.quant.bits import E2M1_DOUBLED
from heron.quant.codebooks import even_signs, grid
from heron.quant.decode_own import E4M3, FP4, NF4
from heron.quant.dequantize import IQ4_VALUES
from heron.quant.formats import Format

Decoder = Callable[[Format, Tensor], Tensor]

#: Tables of values other than grids, by name.
_VALUES = {"iq4": IQ4_VALUES, "e2m1": E2M1_DOUBLED, "e4m3": E4M3, "nf4": NF4, "fp4": FP4}


def field(format: Format, blocks: Tensor, name: str) -> Tensor:
    """The bytes [..., bytes] of a field."""
    assert format.layout.fields is not None
    kind, offset = format.layout.fields[name][:2]
    return blocks[..., offset : offset + kind.itemsize]


def half(format: Format, blocks: Tensor, name: str) -> Tensor:
    """A scale [..., 1]."""
    return field(format, blocks, name).contiguous().view(torch.float16).float()


def single(format: Format, blocks: Tensor, name: str) -> Tensor:
    """A scale [..., 1] of f32."""
    return field(format, blocks, name).contiguous().view(torch.float32)


def words(packed: Tensor, dtype: torch.dtype) -> Tensor:
    """Bytes [..., n] -> the int32 [..., words] that words of 16 or 32 bits have; those of 16 are not negative."""
    numbers = packed.contiguous().view(dtype).int()
    return numbers & 0xFFFF if dtype == torch.int16 else numbers


def unpack(packed: Tensor, run: int, bits: int) -> Tensor:
    """[..., bytes] -> [..., values]: each run of ``run`` bytes holds its lowest ``bits`` bits first, then the next, ..."""
    shifts = torch.arange(0, 8, bits, dtype=torch.uint8, device=packed.device)[:, None]
    lanes = packed.reshape(*packed.shape[:-1], -1, 1, run) >> shifts
    return (lanes & ((1 << bits) - 1)).flatten(-3)


def split(numbers: Tensor, count: int, bits: int) -> Tensor:
    """int32 [..., words] -> [..., words * count]: each word holds ``count`` numbers of ``bits`` bits, the first lowest."""
    shifts = torch.arange(0, count * bits, bits, device=numbers.device)
    return (numbers[..., None] >> shifts & ((1 << bits) - 1)).flatten(-2)


def per_group(scales: Tensor, values: Tensor) -> Tensor:
    """Scales [..., G] times values [..., n], each scale over n/G neighbours."""
    return (scales[..., None] * values.unflatten(-1, (scales.shape[-1], -1)).float()).flatten(-2)


@cache
def _values(name: str, device: torch.device) -> Tensor:
    return torch.tensor(_VALUES[name].tolist(), device=device)


def lookup(name: str, index: Tensor) -> Tensor:
    """The values of a table where ``index`` says."""
    return _values(name, index.device)[index.int()]


@cache
def _grid(name: str, device: torch.device) -> Tensor:
    return torch.from_numpy(grid(name).astype(np.float32)).to(device)


def entries(name: str, index: Tensor) -> Tensor:
    """The values [..., n] of grid entries [..., indexes]."""
    return _grid(name, index.device)[index.int()].flatten(-2)


def signs(packed: Tensor) -> Tensor:
    """Bytes [..., n / 8], a bit an element, lowest first: -1 where it is set."""
    return 1 - 2 * unpack(packed, 1, 1).float()


@cache
def _even(device: torch.device) -> Tensor:
    return torch.from_numpy(even_signs().copy()).to(device)


def signs_of_seven(numbers: Tensor) -> Tensor:
    """Numbers [..., n / 8] of seven bits -> [..., n] signs: the eighth makes how many are negative even."""
    return signs(_even(numbers.device)[numbers])
