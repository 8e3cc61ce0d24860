"""Products with experts' weights: each row by the matrices that it was routed to, of a stack.

Which rows an expert has is known on the device alone, and nothing here asks for it: grids have room for the most that can be. A few
pairs of a row and an expert are each multiplied by themselves. Many are sorted by expert; each program finds from where experts begin
which of them its tile of rows is of, and those beyond the last tile end at once.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from heron.backends.torch.planes import Planes
from heron.backends.torch.triton.launch import cdiv, power_of_two, stages
from heron.backends.torch.triton.linear import SPAN, TILES_OF_F32, TILES_OF_X, VECTOR_BYTES, VECTOR_ROWS, Tile
from heron.backends.torch.triton.tiles import TILES, reading, reading_rows
from heron.backends.torch.triton.walk import many_rows, one_row, walk


@triton.jit
def _pairs(
    x_ptr, ids_ptr, planes, bias_ptr, y_ptr, n, K, steps, experts, share,
    QUANTS: tl.constexpr, BLOCK: tl.constexpr, PARTS: tl.constexpr, RUN: tl.constexpr, LANES: tl.constexpr,
    VALUES: tl.constexpr, SCALE: tl.constexpr, MINIMUM: tl.constexpr, PAIRS: tl.constexpr, ROWS: tl.constexpr, GROUPS: tl.constexpr,
):  # fmt: skip
    """Row pair // share of x times the matrix of expert ids[pair] -> y [pairs, n]; 0 where the expert is not among these."""
    pair = tl.program_id(1)
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    expert = tl.load(ids_ptr + pair).to(tl.int32)
    here = (expert >= 0) & (expert < experts)
    first_block = (tl.where(here, expert, 0).to(tl.int64) * n + tl.minimum(row, n - 1)) * (K // BLOCK)
    y = one_row(
        x_ptr + (pair // share).to(tl.int64) * K, planes, first_block, K, 0, tl.where(here, steps, 0),
        QUANTS, BLOCK, PARTS, RUN, LANES, VALUES, SCALE, MINIMUM, PAIRS, ROWS, GROUPS,
    )  # fmt: skip
    if bias_ptr is not None:
        y += tl.load(bias_ptr + expert.to(tl.int64) * n + row, here & (row < n), 0.0)
    tl.store(y_ptr + pair.to(tl.int64) * n + row, y.to(y_ptr.dtype.element_ty), row < n)


@triton.jit
def _sorted(
    x_ptr, order_ptr, starts_ptr, planes, bias_ptr, y_ptr, n, K, steps, experts, share,
    QUANTS: tl.constexpr, BLOCK: tl.constexpr, PARTS: tl.constexpr, RUN: tl.constexpr, LANES: tl.constexpr,
    VALUES: tl.constexpr, SCALE: tl.constexpr, MINIMUM: tl.constexpr, ROWS: tl.constexpr, GROUPS: tl.constexpr,
    COLUMNS: tl.constexpr, EXPERTS: tl.constexpr,
):  # fmt: skip
    """Pairs in the order of their experts, whose first ones are at starts [experts + 1] -> y [pairs, n], in the pairs' own order."""
    tile, row = tl.program_id(0), tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    which = tl.arange(0, EXPERTS)
    start = tl.load(starts_ptr + which, which < experts, 0)
    end = tl.load(starts_ptr + which + 1, which < experts, 0)
    tiles = (end - start + COLUMNS - 1) // COLUMNS
    until = tl.cumsum(tiles, 0)
    expert = tl.sum(((until <= tile) & (which < experts)).to(tl.int32), 0)
    if expert < experts:
        mine = which == expert
        first = tl.sum(tl.where(mine, start + (tile - until + tiles) * COLUMNS, 0), 0)
        column = first + tl.arange(0, COLUMNS)
        there = column < tl.sum(tl.where(mine, end, 0), 0)
        pair = tl.load(order_ptr + column, there, 0)
        y = many_rows(
            x_ptr, (pair // share) * K, there, planes, (expert.to(tl.int64) * n + tl.minimum(row, n - 1)) * (K // BLOCK), K, 0, steps,
            QUANTS, BLOCK, PARTS, RUN, LANES, VALUES, SCALE, MINIMUM, ROWS, GROUPS, COLUMNS,
        )  # fmt: skip
        if bias_ptr is not None:
            y += tl.load(bias_ptr + expert.to(tl.int64) * n + row, row < n, 0.0)[:, None]
        at = pair[None, :] * n + row[:, None]
        tl.store(y_ptr + at, y.to(y_ptr.dtype.element_ty), (row < n)[:, None] & there[None, :])


def expert_linear(x: Tensor, ids: Tensor, w: Planes, bias: Tensor | None = None) -> Tensor:
    """x [T, in] or [T, k, in], ids [T, k], w [E, out, in], bias f32[E, out] -> [T, k, out]; 0 where an id is not from 0 to E - 1."""
    experts, n, _ = w.shape
    pairs, k = ids.numel(), ids.shape[-1]
    x, ids = x.contiguous(), ids.reshape(-1).contiguous()
    share = k if x.dim() == 2 else 1
    # Up to where the experts are mostly different ones: then nobody reads a matrix that another one has read.
    y = (_by_pair if pairs <= experts // 2 or pairs <= 8 else _by_expert)(x, ids, w, bias, share)
    return y.reshape(pairs // k, k, n)


def _by_pair(x: Tensor, ids: Tensor, w: Planes, bias: Tensor | None, share: int) -> Tensor:
    experts, n, k = w.shape
    y = torch.empty(len(ids), n, dtype=x.dtype, device=x.device)
    groups, steps = walk(w.format, k, VECTOR_BYTES)
    if len(ids):
        _pairs[(cdiv(n, VECTOR_ROWS), len(ids))](
            x, ids, w.tensors, bias, y, n, k, steps, experts, share, **reading_rows(w.format), ROWS=VECTOR_ROWS, GROUPS=groups
        )
    return y


def tile_of_experts(each: float, dtype: torch.dtype) -> Tile:
    """The tile for experts that have ``each`` rows or so: the smallest that holds them, or the largest."""
    tiles = TILES_OF_F32 if dtype == torch.float32 else TILES_OF_X
    return next((tile for tile in tiles if each <= tile.columns), tiles[-1])


def _by_expert(x: Tensor, ids: Tensor, w: Planes, bias: Tensor | None, share: int) -> Tensor:
    experts, n, k = w.shape
    pairs = len(ids)
    y = torch.zeros(pairs, n, dtype=x.dtype, device=x.device)  # what no expert here computes is 0
    ids = torch.where((ids >= 0) & (ids < experts), ids, experts)  # those of others come last
    order = ids.argsort(stable=True)
    starts = torch.searchsorted(ids[order], torch.arange(experts + 1, device=ids.device)).int()
    tile = tile_of_experts(pairs / experts, x.dtype)
    groups, steps = walk(w.format, k, SPAN // TILES[w.format.name].parts)
    # Each expert that has rows has at most one tile that is not full.
    most = cdiv(pairs, tile.columns) + min(experts, pairs)
    _sorted[(most, cdiv(n, tile.rows))](
        x, order, starts, w.tensors, bias, y, n, k, steps, experts, share,
        **reading(w.format), ROWS=tile.rows, GROUPS=groups, COLUMNS=tile.columns, EXPERTS=power_of_two(experts),
        num_warps=tile.warps, num_stages=stages(tile.stages),
    )  # fmt: skip
    return y
