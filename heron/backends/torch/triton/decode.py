"""Rows of quantized weights as numbers in memory: what embeddings take, and products with very many rows multiply by."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from heron.backends.torch.planes import Planes
from heron.backends.torch.triton.launch import cdiv
from heron.backends.torch.triton.tiles import reading
from heron.backends.torch.triton.walk import quants, walk

#: Bytes of quants of a row that a program decodes, and of how many rows where there are many.
BYTES, ROWS = 256, 8


@triton.jit
def _decode(
    planes, ids_ptr, y_ptr, n, first, K,
    QUANTS: tl.constexpr, BLOCK: tl.constexpr, PARTS: tl.constexpr, RUN: tl.constexpr, LANES: tl.constexpr,
    VALUES: tl.constexpr, SCALE: tl.constexpr, MINIMUM: tl.constexpr, ROWS: tl.constexpr, GROUPS: tl.constexpr,
):  # fmt: skip
    """Rows ids [n], or n rows from ``first`` on, as numbers: y [n, K]."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    there = row < n
    stored = first + row if ids_ptr is None else tl.load(ids_ptr + row, there, 0)
    first_block = tl.where(there, stored, first).to(tl.int64) * (K // BLOCK)
    j = (tl.program_id(1) * GROUPS + tl.arange(0, GROUPS)) * LANES
    k, inside = j // RUN * (RUN * PARTS) + j % RUN, j * PARTS < K
    q = quants(planes[QUANTS], first_block, j, inside, BLOCK, PARTS, LANES)
    block, e = first_block[:, None] + (k // BLOCK)[None, :], (k % BLOCK)[None, :]
    for part in tl.static_range(PARTS):
        numbers = SCALE(planes, block, e, inside[None, :], part)[:, :, None] * VALUES(planes, q, block, e, inside[None, :], part)
        if MINIMUM is not None:
            numbers += MINIMUM(planes, block, e, inside[None, :], part)[:, :, None]
        at = row.to(tl.int64)[:, None, None] * K + ((k + part * RUN)[:, None] + tl.arange(0, LANES)[None, :])[None, :, :]
        tl.store(y_ptr + at, numbers.to(y_ptr.dtype.element_ty), there[:, None, None] & inside[None, :, None])


def decode(w: Planes, dtype: torch.dtype, ids: Tensor | None = None, first: int = 0, count: int = 0) -> Tensor:
    """Rows ``ids`` [...] of w [out, in], or ``count`` rows from ``first`` on, as numbers [..., in]."""
    k = w.width
    y = torch.empty(*((count,) if ids is None else ids.shape), k, dtype=dtype, device=w.device)
    rows = y.numel() // k
    groups, steps = walk(w.format, k, BYTES)
    at_once = min(rows, ROWS) if rows in (1, 2, 4) else ROWS
    if rows:
        index = None if ids is None else ids.contiguous()
        _decode[(cdiv(rows, at_once), steps)](w.tensors, index, y, rows, first, k, **reading(w.format), ROWS=at_once, GROUPS=groups)
    return y
