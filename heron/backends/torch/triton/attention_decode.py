"""Attention of few tokens to long contexts: keys split at fixed places over programs, whose sums a second kernel merges."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from heron.backends.torch.triton.attention import FIRST, LOG2E, OCTAVE, Keys, Score, Span, arguments, attend_tile, dot_size
from heron.backends.torch.triton.cache import token_rows
from heron.backends.torch.triton.launch import cdiv, power_of_two, stages

#: Tokens of a sequence in one step up to which it is decoded: with its drafts.
LONGEST = 16

#: Splits that are merged at once; with a window, few, since the first of them begin at a multiple of so many.
CHUNK, WINDOW_CHUNK = 16, 4


@triton.jit
def _merge(
    part_ptr, peak_ptr, total_ptr, y_ptr, query_start_ptr, sinks_ptr, splits, LONGEST: tl.constexpr, SHARE: tl.constexpr, DV: tl.constexpr,
    DVP: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    """Program (sequence, row of a head of keys, head of keys): sums of splits -> a row of y [T, H, Dv]."""
    s, row, head, kv_heads = tl.program_id(0), tl.program_id(1), tl.program_id(2), tl.num_programs(2)
    begin = tl.load(query_start_ptr + s)
    n = tl.load(query_start_ptr + s + 1) - begin
    if n > LONGEST or row >= n * SHARE:
        return
    query_head = head * SHARE + row % SHARE
    first = ((s.to(tl.int64) * kv_heads + head) * tl.num_programs(1) + row) * splits
    d = tl.arange(0, DVP)
    peak = tl.full([], float("-inf"), tl.float32)
    if sinks_ptr is not None:
        peak = tl.load(sinks_ptr + query_head) * LOG2E
    sink = peak
    for chunk in range(0, splits, CHUNK):
        split = chunk + tl.arange(0, CHUNK)
        peak = tl.maximum(peak, tl.max(tl.load(peak_ptr + first + split, split < splits, float("-inf")), 0))
    base = tl.where(peak == float("-inf"), 0.0, peak)
    total = tl.exp2(sink - base)
    y = tl.zeros([DVP], tl.float32)
    for chunk in range(0, splits, CHUNK):
        split = chunk + tl.arange(0, CHUNK)
        own = tl.load(peak_ptr + first + split, split < splits, float("-inf"))
        seen = own > float("-inf")
        share = tl.exp2(own - base)
        total += tl.sum(share * tl.load(total_ptr + first + split, seen, 0.0), 0)
        part = tl.load(part_ptr + (first + split)[:, None] * DV + d[None, :], seen[:, None] & (d < DV)[None, :], 0.0)
        y += tl.sum(share[:, None] * part, 0)
    y = y / tl.where(total > 0, total, 1.0)
    tl.store(y_ptr + ((begin + row // SHARE).to(tl.int64) * (kv_heads * SHARE) + query_head) * DV + d, y.to(y_ptr.dtype.element_ty), d < DV)


def split_count(keys: int, window: int, longest: int) -> int:
    """How many splits cover so many keys; with a window, all that so many tokens may see of them."""
    if window:
        return cdiv(min(window + longest - 1, keys) - 1, FIRST) + WINDOW_CHUNK
    octave = (keys // (FIRST * OCTAVE) + 1).bit_length() - 1
    before = FIRST * OCTAVE * ((1 << octave) - 1)
    return octave * OCTAVE + cdiv(keys - before, FIRST << octave)


def decode(q: Tensor, keys: Keys, score: Score, span: Span, longest: int, y: Tensor | None = None, q2: Tensor | None = None) -> Tensor:
    """q [T, H, Dk] and q2 [T, H, D2] attend to the cache -> y [T, H, Dv], where sequences have up to ``longest`` tokens; else y is kept.

    The launches' sizes follow from the arguments' shapes and ``longest`` alone.
    """
    assert keys.table is not None
    q, q2 = token_rows(q), None if q2 is None else token_rows(q2)
    given, constants = arguments(q, q2, keys, score, span)
    sequences, kv_heads, values, share = len(span.context_len), keys.key.shape[1], keys.dims[2], constants["SHARE"]
    rows, splits = longest * share, split_count(keys.table.shape[1] * keys.page, score.window, longest)
    if y is None:
        y = torch.empty(len(q), q.shape[1], values, dtype=q.dtype, device=q.device)
    if not sequences:
        return y
    sums = torch.empty(sequences, kv_heads, rows, splits, values, dtype=torch.float32, device=q.device)
    peaks, totals = (torch.empty(sums.shape[:-1], dtype=torch.float32, device=q.device) for _ in range(2))
    wide, half = max(constants["DP"], constants["DVP"]), constants["TYPE"] != tl.float32
    block = max(16, min(power_of_two(rows), 16 if not half else 64 if wide <= 256 else 32))
    tiles, chunk = cdiv(rows, block), WINDOW_CHUNK if score.window else CHUNK
    attend_tile[(sequences * tiles, kv_heads, splits)](
        **given, y_ptr=sums, peak_ptr=peaks, total_ptr=totals, tiles_ptr=None, **constants, TILES=tiles, LONGEST=longest, SPLIT=FIRST,
        CHUNK=chunk, BM=block, BN=16 if not half else 64 if wide <= 128 else 32, num_warps=4 if block * wide <= 1 << 13 else 8,
        num_stages=stages(3 if half and wide <= 256 else 2),
    )  # fmt: skip
    _merge[(sequences, rows, kv_heads)](
        sums, peaks, totals, y, span.query_start, score.sinks, splits, longest, share, values, dot_size(values), chunk,
        num_warps=4 if values > 64 else 2,
    )  # fmt: skip
    return y
