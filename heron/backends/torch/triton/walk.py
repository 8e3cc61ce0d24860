"""How a program walks K: what kernels of products with quantized weights share. Formats and how a tile is decoded: tiles.py."""

from __future__ import annotations

import triton
import triton.language as tl

from heron.backends.torch.triton.launch import cdiv, power_of_two
from heron.backends.torch.triton.tiles import TILES
from heron.quant.formats import Format


def walk(format: Format, k: int, bytes: int) -> tuple[int, int]:
    """Groups of lanes in a step that takes ``bytes`` of quants or fewer, and steps that cover a row of k numbers."""
    tiles = TILES[format.name]
    groups = min(bytes // tiles.lanes, power_of_two(cdiv(k, tiles.lanes * tiles.parts)))
    return groups, cdiv(k, groups * tiles.lanes * tiles.parts)


@triton.jit
def quants(plane, first_block, j, inside, BLOCK: tl.constexpr, PARTS: tl.constexpr, LANES: tl.constexpr, WORD: tl.constexpr = 1):
    """Groups of lanes at bytes j [groups] of rows that begin at first_block [rows] -> [rows, groups, LANES], as stored.

    With a WORD of 4 they are taken four at a time, as int32 [rows, groups, LANES / 4].
    """
    pointer = plane if WORD == 1 else plane.to(tl.pointer_type(tl.int32), bitcast=True)
    lanes = (j // WORD)[:, None] + tl.arange(0, LANES // WORD)[None, :]
    at = (first_block * (BLOCK // PARTS // WORD))[:, None, None] + lanes[None, :, :]
    return tl.load(pointer + at, inside[None, :, None], 0)


@triton.jit
def _of_words(PAIRS: tl.constexpr, q, PART: tl.constexpr):
    """The numbers of words [rows, groups, words] -> [rows, groups, 4 words], in the order of their bytes."""
    first, third = PAIRS(q, PART)
    second, fourth = PAIRS(q >> 8, PART)
    fours = tl.join(tl.join(first, third), tl.join(second, fourth))
    return fours.reshape(q.shape[0], q.shape[1], q.shape[2] * 4)


@triton.jit
def one_row(
    x_ptr, planes, first_block, K, begin, end,
    QUANTS: tl.constexpr, BLOCK: tl.constexpr, PARTS: tl.constexpr, RUN: tl.constexpr, LANES: tl.constexpr,
    VALUES: tl.constexpr, SCALE: tl.constexpr, MINIMUM: tl.constexpr, PAIRS: tl.constexpr, ROWS: tl.constexpr, GROUPS: tl.constexpr,
):  # fmt: skip
    """x [K] times the rows of weights that begin at first_block [ROWS], over steps begin to end of K -> f32 [ROWS]."""
    WORD: tl.constexpr = 1 if PAIRS is None else 4
    total = tl.zeros((ROWS, GROUPS), tl.float32)
    group, lane = tl.arange(0, GROUPS), tl.arange(0, LANES)
    j = (begin * GROUPS + group) * LANES
    q = quants(planes[QUANTS], first_block, j, j * PARTS < K, BLOCK, PARTS, LANES, WORD)
    for step in range(begin, end):
        # The next step's quants are asked for before this one's are used: these loads are what takes the time.
        j = ((step + 1) * GROUPS + group) * LANES
        ahead = quants(planes[QUANTS], first_block, j, (j * PARTS < K) & (step + 1 < end), BLOCK, PARTS, LANES, WORD)
        j = (step * GROUPS + group) * LANES
        k, inside = j // RUN * (RUN * PARTS) + j % RUN, j * PARTS < K
        block, e, there = first_block[:, None] + (k // BLOCK)[None, :], (k % BLOCK)[None, :], inside[None, :]
        for part in tl.static_range(PARTS):
            x = tl.load(x_ptr + (k + part * RUN)[:, None] + lane[None, :], inside[:, None], 0.0).to(tl.float32)
            values = VALUES(planes, q, block, e, there, part) if PAIRS is None else _of_words(PAIRS, q, part)
            total += SCALE(planes, block, e, there, part) * tl.sum(values * x[None, :, :], 2)
            if MINIMUM is not None:
                total += MINIMUM(planes, block, e, there, part) * tl.sum(x, 1)[None, :]
        q = ahead
    return tl.sum(total, 1)


@triton.jit
def many_rows(
    x_ptr, x_row, x_inside, planes, first_block, K, begin, end,
    QUANTS: tl.constexpr, BLOCK: tl.constexpr, PARTS: tl.constexpr, RUN: tl.constexpr, LANES: tl.constexpr,
    VALUES: tl.constexpr, SCALE: tl.constexpr, MINIMUM: tl.constexpr, ROWS: tl.constexpr, GROUPS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Rows of x that begin at x_row [COLUMNS] times the rows of weights that begin at first_block [ROWS] -> f32 [ROWS, COLUMNS]."""
    total = tl.zeros((ROWS, COLUMNS), tl.float32)
    group, place = tl.arange(0, GROUPS), tl.arange(0, GROUPS * LANES)
    for step in range(begin, end):
        j = (step * GROUPS + group) * LANES
        k, inside = j // RUN * (RUN * PARTS) + j % RUN, j * PARTS < K
        block, e, there = first_block[:, None] + (k // BLOCK)[None, :], (k % BLOCK)[None, :], inside[None, :]
        q = quants(planes[QUANTS], first_block, j, inside, BLOCK, PARTS, LANES)
        each = step * GROUPS * LANES + place  # the same places as j and its lanes, in one axis
        each = each // RUN * (RUN * PARTS) + each % RUN
        x_at, x_there = x_ptr + x_row[None, :] + each[:, None], x_inside[None, :] & (each < K)[:, None]
        for part in tl.static_range(PARTS):
            x = tl.load(x_at + part * RUN, x_there, 0.0)
            values = VALUES(planes, q, block, e, there, part)
            numbers = SCALE(planes, block, e, there, part)[:, :, None] * values
            if MINIMUM is not None:
                numbers += MINIMUM(planes, block, e, there, part)[:, :, None]
            left = numbers.reshape(ROWS, GROUPS * LANES).to(x.dtype)
            total = tl.dot(left, x, total, input_precision="ieee")
    return total
