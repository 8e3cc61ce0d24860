"""Attention of many tokens: each program takes a tile of a sequence's queries over all the keys that they see."""

from __future__ import annotations

import numpy as np
import torch
import triton
from numpy.typing import NDArray
from torch import Tensor

from heron.backends.torch.triton.attention import Keys, Score, Span, arguments, attend_tile
from heron.backends.torch.triton.cache import token_rows
from heron.backends.torch.triton.launch import stages


def tile_rows(dim: int, half: bool) -> int:
    """Rows of a tile (tokens times the heads of a group): what registers hold of queries and sums. f32 has no units for matrices."""
    if not half:
        return 16
    return 128 if dim <= 128 else 64 if dim <= 256 else 32


def tiles_of(lengths: NDArray[np.int32], share: int, block: int, beyond: int = 0) -> NDArray[np.int32]:
    """[tiles, 2] sequence and first row of each tile of the sequences with more than so many tokens; last ones, the longest, first."""
    rows = np.where(lengths > beyond, lengths, 0) * share
    counts = -(-rows // block)
    sequence = np.repeat(np.arange(len(lengths)), counts)
    first = (np.arange(len(sequence)) - np.repeat(np.cumsum(counts) - counts, counts)) * block
    order = np.argsort(-first, kind="stable")
    return np.stack([sequence, first], -1)[order].astype(np.int32)


def prefill(q: Tensor, keys: Keys, score: Score, span: Span, tiles: Tensor, block: int, y: Tensor | None = None) -> Tensor:
    """q [T, H, Dk] attends to keys -> y [T, H, Dv] in the rows of the tiles i32[tiles, 2], each of ``block`` rows; else y is kept."""
    q = token_rows(q)
    given, constants = arguments(q, None, keys, score, span)
    if y is None:
        y = torch.empty(len(q), q.shape[1], keys.dims[2], dtype=q.dtype, device=q.device)
    if not len(tiles):
        return y
    wide, half = max(constants["DP"], constants["DVP"]), constants["TYPE"] != triton.language.float32
    attend_tile[(len(tiles), keys.key.shape[1], 1)](
        **given, y_ptr=y, peak_ptr=None, total_ptr=None, tiles_ptr=tiles, **constants, TILES=1, LONGEST=0, SPLIT=0, CHUNK=0,
        BM=block, BN=16 if not half else 64 if wide <= 128 else 32, num_warps=8 if block * wide > 1 << 13 else 4,
        num_stages=stages(3 if half and wide <= 128 else 2),
    )  # fmt: skip
    return y
