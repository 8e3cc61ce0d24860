"""Products with quantized weights: numbers are decoded in registers where they are multiplied by, and are never written to memory.

Two regimes, by the rows of x. One row: a product is a sum over what is read; each program takes a few rows of weights and all or a part
of K. More rows: tiles are multiplied by matrix units, weights on the left, since that is the side that these can take from registers.
Sums are in f32. Where a matrix has too few rows to keep the device busy, K is divided among programs (splits), whose sums are added by
``_finish`` in one order. Formats and how a tile is decoded: tiles.py; how K is walked: walk.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
import triton
import triton.language as tl
from torch import Tensor

from heron.backends.torch.planes import Planes
from heron.backends.torch.triton.decode import decode
from heron.backends.torch.triton.glu import activate
from heron.backends.torch.triton.launch import cdiv, stages
from heron.backends.torch.triton.tiles import TILES, reading, reading_rows
from heron.backends.torch.triton.walk import many_rows, one_row, walk
from heron.backends.torch.weights import TILE

#: Elements of K that a step of a product of tiles takes, whatever the format: the pieces of x that it holds are that wide.
SPAN = 128

#: Bytes of quants that a step of a product with one row takes, of each of VECTOR_ROWS rows: 128 threads load 32 bytes each.
VECTOR_BYTES, VECTOR_ROWS = 512, 8

#: Rows of x above which a matrix is decoded to memory, a tile at a time, and multiplied by torch. What is decoded stays in the second
#: level of cache, about 1 ps a number; for a thousand rows that is what a tuned product of plain numbers gains over ours.
DENSE_ROWS = 1024


@dataclass(frozen=True)
class Tile:
    """What a program multiplies at once, for products with ``upto`` rows of x or fewer."""

    upto: int
    columns: int  #: rows of x
    rows: int  #: rows of weights
    warps: int
    stages: int


#: Few rows of x: small tiles, many programs, deep pipelines. Many: large ones, since each decodes its weights for itself.
TILES_OF_X = (Tile(16, 16, 64, 4, 4), Tile(32, 32, 64, 4, 4), Tile(128, 64, 64, 4, 3), Tile(DENSE_ROWS, 128, 128, 8, 3))

#: In f32 there are no matrix units to feed: what torch does is better soon.
TILES_OF_F32 = (Tile(32, 16, 32, 4, 2),)


def tile_for(count: int, dtype: torch.dtype) -> Tile | None:
    """The tile for so many rows of x, or None where the matrix should be decoded first."""
    tiles = TILES_OF_F32 if dtype == torch.float32 else TILES_OF_X
    return next((tile for tile in tiles if count <= tile.upto), None)


# Kernels


@triton.jit
def _vector(
    x_ptr, planes, others, bias_ptr, other_bias_ptr, y_ptr, n, K, steps, limit, offset,
    QUANTS: tl.constexpr, BLOCK: tl.constexpr, PARTS: tl.constexpr, RUN: tl.constexpr, LANES: tl.constexpr,
    VALUES: tl.constexpr, SCALE: tl.constexpr, MINIMUM: tl.constexpr, PAIRS: tl.constexpr, ROWS: tl.constexpr, GROUPS: tl.constexpr,
    KIND: tl.constexpr, LIMITED: tl.constexpr,
):  # fmt: skip
    """x [K] -> y [n], or [splits, n] of sums that are to be added; with a KIND, the product by ``planes`` gates that by ``others``."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    # Rows past the last are computed as the last one, and not stored.
    first_block = tl.minimum(row, n - 1).to(tl.int64) * (K // BLOCK)
    begin = tl.program_id(1) * steps
    end = tl.minimum(begin + steps, tl.cdiv(K, GROUPS * LANES * PARTS))
    y = one_row(x_ptr, planes, first_block, K, begin, end, QUANTS, BLOCK, PARTS, RUN, LANES, VALUES, SCALE, MINIMUM, PAIRS, ROWS, GROUPS)
    if bias_ptr is not None:
        y += tl.load(bias_ptr + row, row < n, 0.0)
    if KIND is not None:
        up = one_row(
            x_ptr, others, first_block, K, begin, end, QUANTS, BLOCK, PARTS, RUN, LANES, VALUES, SCALE, MINIMUM, PAIRS, ROWS, GROUPS
        )
        if other_bias_ptr is not None:
            up += tl.load(other_bias_ptr + row, row < n, 0.0)
        if LIMITED:
            y, up = tl.minimum(y, limit), tl.clamp(up, -limit, limit)
        y = activate(y, KIND) * (up + offset)
    tl.store(y_ptr + tl.program_id(1) * n + row, y.to(y_ptr.dtype.element_ty), row < n)


@triton.jit
def _matrix(
    x_ptr, planes, bias_ptr, y_ptr, count, n, K, steps,
    QUANTS: tl.constexpr, BLOCK: tl.constexpr, PARTS: tl.constexpr, RUN: tl.constexpr, LANES: tl.constexpr,
    VALUES: tl.constexpr, SCALE: tl.constexpr, MINIMUM: tl.constexpr, ROWS: tl.constexpr, GROUPS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """x [count, K] -> y [count, n], or [splits, count, n] of sums that are to be added."""
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)  # first, so that programs of one tile of weights run together
    row = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    begin = tl.program_id(2) * steps
    y = many_rows(
        x_ptr, column.to(tl.int64) * K, column < count, planes, tl.minimum(row, n - 1).to(tl.int64) * (K // BLOCK), K,
        begin, tl.minimum(begin + steps, tl.cdiv(K, GROUPS * LANES * PARTS)),
        QUANTS, BLOCK, PARTS, RUN, LANES, VALUES, SCALE, MINIMUM, ROWS, GROUPS, COLUMNS,
    )  # fmt: skip
    if bias_ptr is not None:
        y += tl.load(bias_ptr + row, row < n, 0.0)[:, None]
    at = (tl.program_id(2) * count + column).to(tl.int64)[None, :] * n + row[:, None]
    tl.store(y_ptr + at, y.to(y_ptr.dtype.element_ty), (row < n)[:, None] & (column < count)[None, :])


@triton.jit
def _finish(parts_ptr, bias_ptr, y_ptr, size, n, SPLITS: tl.constexpr, SIZE: tl.constexpr):
    """Sums [SPLITS, size] -> y [size], of rows of n."""
    at = tl.program_id(0).to(tl.int64) * SIZE + tl.arange(0, SIZE)
    y = tl.load(parts_ptr + at, at < size, 0.0)
    for split in range(1, SPLITS):
        y += tl.load(parts_ptr + split * size + at, at < size, 0.0)
    if bias_ptr is not None:
        y += tl.load(bias_ptr + at % n)
    tl.store(y_ptr + at, y.to(y_ptr.dtype.element_ty), at < size)


# Their launches


@cache
def _processors(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 1


def _splits(programs: int, steps: int, device: torch.device, each: int) -> int:
    """Into how many pieces K is divided, so that each processor has ``each`` programs or so; a piece has a step or more."""
    return max(1, min(steps, each * _processors(device) // programs))


def linear(x: Tensor, w: Planes, bias: Tensor | None = None, splits: int | None = None) -> Tensor:
    """x [..., in] times w [out, in], plus bias f32[out] -> [..., out], as x is. K is divided by ``splits``, or as suits the device."""
    rows = x.reshape(-1, x.shape[-1]).contiguous()
    if not len(rows):
        y = torch.empty(0, w.shape[0], dtype=x.dtype, device=x.device)
    elif len(rows) == 1:
        y = _times_vector(rows, w, bias, splits)
    else:
        tile = tile_for(len(rows), x.dtype)
        y = _times_dense(rows, w, bias) if tile is None else _times_matrix(rows, w, bias, tile, splits)
    return y.reshape(*x.shape[:-1], y.shape[-1])


def gated_linear(
    x: Tensor, gate: Planes, up: Planes, kind: str, limit: float, offset: float, biases: tuple[Tensor | None, Tensor | None] = (None, None)
) -> Tensor:
    """One row x [1, in] by gate and up [out, in] of one format -> kind(gate) * (up + offset) [1, out].

    A limit other than 0 holds both within it first.
    """
    n, k = gate.shape
    y = torch.empty(1, n, dtype=x.dtype, device=x.device)
    groups, steps = walk(gate.format, k, VECTOR_BYTES)
    _vector[(cdiv(n, VECTOR_ROWS), 1)](
        x.contiguous(), gate.tensors, up.tensors, *biases, y, n, k, steps, limit, offset,
        **reading_rows(gate.format), ROWS=VECTOR_ROWS, GROUPS=groups, KIND=kind, LIMITED=limit != 0, num_warps=4,
    )  # fmt: skip
    return y


def _times_vector(x: Tensor, w: Planes, bias: Tensor | None, splits: int | None) -> Tensor:
    n, k = w.shape
    groups, steps = walk(w.format, k, VECTOR_BYTES)
    programs = cdiv(n, VECTOR_ROWS)
    each = cdiv(steps, splits or _splits(programs, steps, x.device, 4))
    splits = cdiv(steps, each)
    y = torch.empty(splits, n, dtype=x.dtype if splits == 1 else torch.float32, device=x.device)
    _vector[(programs, splits)](
        x, w.tensors, None, bias if splits == 1 else None, None, y, n, k, each, 0.0, 0.0,
        **reading_rows(w.format), ROWS=VECTOR_ROWS, GROUPS=groups, KIND=None, LIMITED=False, num_warps=4,
    )  # fmt: skip
    return y if splits == 1 else _added(y, bias, x)


def _times_matrix(x: Tensor, w: Planes, bias: Tensor | None, tile: Tile, splits: int | None) -> Tensor:
    (n, k), count = w.shape, len(x)
    groups, steps = walk(w.format, k, SPAN // TILES[w.format.name].parts)
    grid = (cdiv(count, tile.columns), cdiv(n, tile.rows))
    each = cdiv(steps, splits or _splits(grid[0] * grid[1], steps // 4, x.device, 2))
    splits = cdiv(steps, each)
    y = torch.empty(splits, count, n, dtype=x.dtype if splits == 1 else torch.float32, device=x.device)
    _matrix[(*grid, splits)](
        x, w.tensors, bias if splits == 1 else None, y, count, n, k, each,
        **reading(w.format), ROWS=tile.rows, GROUPS=groups, COLUMNS=tile.columns, num_warps=tile.warps, num_stages=stages(tile.stages),
    )  # fmt: skip
    return y[0] if splits == 1 else _added(y, bias, x)


def _added(parts: Tensor, bias: Tensor | None, x: Tensor) -> Tensor:
    """The sums [splits, ..., n] added up, in x's type."""
    y = torch.empty(len(x), parts.shape[-1], dtype=x.dtype, device=x.device)
    _finish[(cdiv(y.numel(), 1024),)](parts, bias, y, y.numel(), y.shape[-1], SPLITS=len(parts), SIZE=1024)
    return y


def _times_dense(x: Tensor, w: Planes, bias: Tensor | None) -> Tensor:
    n, k = w.shape
    y = torch.empty(len(x), n, dtype=x.dtype, device=x.device)
    step = max(1, TILE // k)
    for first in range(0, n, step):
        count = min(step, n - first)
        torch.mm(x, decode(w, x.dtype, first=first, count=count).T, out=y[:, first : first + count])
    return y if bias is None else (y + bias).to(x.dtype)
