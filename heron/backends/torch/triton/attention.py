"""Attention of one tile of queries to a range of keys, the softmax taken online (Milakov and Gimelshein 2018; Dao et al. 2022).

A tile's rows are the queries of one sequence that share a head of keys: token by token, and in each the query heads of the group, so
that a group loads its keys once. Keys and values lie in the paged cache, as they are stored there, or side by side in the step. What is
added up in which order follows from places in the sequence alone: an answer does not depend on what else is in the step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from heron.backends.torch.triton.cache import load_rows
from heron.backends.torch.triton.glu import tanh
from heron.backends.torch.triton.launch import power_of_two

LOG2E = tl.constexpr(1.4426950408889634)
#: Where f16 ends: queries beyond it are held there.
HALF = tl.constexpr(65504.0)
#: Keys of the shortest split, and how many splits there are of each length: then they are twice as long.
FIRST, OCTAVE = 128, 16


@triton.jit
def split_begin(i, FIRST: tl.constexpr, OCTAVE: tl.constexpr):
    """The place where split i begins. Lengths double, so that long contexts have few splits more, at places that never move."""
    return FIRST * ((OCTAVE + i % OCTAVE) * (1 << (i // OCTAVE)) - OCTAVE)


@triton.jit
def _queries(ptr, at, inside, D: tl.constexpr, DP: tl.constexpr, TYPE: tl.constexpr):
    """The rows of D elements that begin at ptr + at i64[M], zeros where not inside -> TYPE[M, DP], none of them infinite."""
    d = tl.arange(0, DP)[None, :]
    q = tl.load(ptr + at[:, None] + d, inside[:, None] & (d < D), 0.0)
    if TYPE == tl.float16:  # noqa: SIM300
        q = tl.clamp(q.to(tl.float32), -HALF, HALF)
    return q.to(TYPE)


@triton.jit
def attend_tile(
    q_ptr, q2_ptr, k_ptr, k2_ptr, v_ptr, y_ptr, peak_ptr, total_ptr, query_start_ptr, context_ptr, length_ptr, table_ptr, start_ptr,
    tiles_ptr, sinks_ptr, slopes_ptr, q_stride, q2_stride, width, scale, softcap,
    TILES: tl.constexpr, LONGEST: tl.constexpr, SHARE: tl.constexpr, D: tl.constexpr, D2: tl.constexpr, DV: tl.constexpr,
    DP: tl.constexpr, D2P: tl.constexpr, DVP: tl.constexpr, CAUSAL: tl.constexpr, WINDOW: tl.constexpr, PAGE: tl.constexpr,
    SPLIT: tl.constexpr, CHUNK: tl.constexpr, OCTAVES: tl.constexpr, Q8: tl.constexpr, TYPE: tl.constexpr,
    BM: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """Program (tile, head of keys, split) -> rows of y [T, H, Dv]; with SPLIT, of sums y, total and peak [S, Hkv, rows, splits]."""
    tile, head, kv_heads = tl.program_id(0), tl.program_id(1), tl.num_programs(1)
    if tiles_ptr is None:
        s, first = tile // TILES, tile % TILES * BM
    else:
        s, first = tl.load(tiles_ptr + 2 * tile), tl.load(tiles_ptr + 2 * tile + 1)
    begin = tl.load(query_start_ptr + s)
    n = tl.load(query_start_ptr + s + 1) - begin
    absent = first >= n * SHARE
    if SPLIT:
        absent |= n > LONGEST
    if absent:
        return

    row = first + tl.arange(0, BM)
    inside, token, query_head = row < n * SHARE, row // SHARE, head * SHARE + row % SHARE
    before = tl.load(context_ptr + s) - n
    place = before + token
    low, high = 0, tl.load(length_ptr + s)
    full = high
    if CAUSAL:
        high = tl.minimum(high, before + tl.minimum(first + BM - 1, n * SHARE - 1) // SHARE + 1)
        full = tl.minimum(high, before + first // SHARE + 1)  # up to here all rows see all keys
    if WINDOW:
        oldest = tl.maximum(0, before + first // SHARE - WINDOW + 1)  # blocks before it may be given back
        low = oldest // BN * BN
        if not CAUSAL:
            high = tl.minimum(high, before + tl.minimum(first + BM - 1, n * SHARE - 1) // SHARE + WINDOW)
    if SPLIT:
        split = tl.program_id(2)
        if WINDOW:  # equal splits from the first that a token of the step sees, or the few before it that are merged with it
            split_low = (tl.maximum(0, before - WINDOW + 1) // (SPLIT * CHUNK) * CHUNK + split) * SPLIT
            split_high = split_low + SPLIT
        else:
            split_low, split_high = split_begin(split, SPLIT, OCTAVES), split_begin(split + 1, SPLIT, OCTAVES)
        low, high, full = tl.maximum(low, split_low), tl.minimum(high, split_high), tl.minimum(full, split_high)
    full = full // BN * BN

    at, dv = (begin + token).to(tl.int64), tl.arange(0, DVP)
    q = _queries(q_ptr, at * q_stride + query_head * D, inside, D, DP, TYPE)
    if k2_ptr is not None:
        q2 = _queries(q2_ptr, at * q2_stride + query_head * D2, inside, D2, D2P, TYPE)
    if slopes_ptr is not None:
        slope = tl.load(slopes_ptr + query_head, inside, 0.0)
    if table_ptr is not None:
        table_start = tl.load(start_ptr + s)
    peak = tl.full([BM], float("-inf"), tl.float32)
    total = tl.zeros([BM], tl.float32)
    y = tl.zeros([BM, DVP], tl.float32)
    for masked in tl.static_range(2):
        if masked or not WINDOW:
            for near in range(tl.maximum(low, full) if masked and not WINDOW else low, high if masked else tl.minimum(full, high), BN):
                key = near + tl.arange(0, BN)
                held = (key >= oldest) & (key < high) if WINDOW else key < high
                if table_ptr is None:
                    entry = (begin + key).to(tl.int64)
                else:
                    page = tl.load(table_ptr + s * width + key // PAGE - table_start, held, 0)
                    entry = page.to(tl.int64) * PAGE + key % PAGE
                at_key = entry * kv_heads + head
                k = load_rows(k_ptr, at_key, held, D, DP, Q8, TYPE)
                scores = tl.dot(q, tl.trans(k), input_precision="ieee")
                if k2_ptr is not None:
                    scores = tl.dot(q2, tl.trans(load_rows(k2_ptr, at_key, held, D2, D2P, Q8, TYPE)), scores, input_precision="ieee")
                scores *= scale
                if softcap is not None:
                    scores = softcap * tanh(scores / softcap)
                if slopes_ptr is not None:
                    scores -= slope[:, None] * tl.abs(place[:, None] - key[None, :]).to(tl.float32)
                scores *= LOG2E
                if masked:
                    seen = held[None, :] & inside[:, None]
                    if CAUSAL:
                        seen &= key[None, :] <= place[:, None]
                    if WINDOW:
                        seen &= tl.abs(place[:, None] - key[None, :]) < WINDOW
                    scores = tl.where(seen, scores, float("-inf"))
                higher = tl.maximum(peak, tl.max(scores, 1))
                base = tl.where(higher == float("-inf"), 0.0, higher)
                shares = tl.exp2(scores - base[:, None])
                shrink = tl.exp2(peak - base)
                total = total * shrink + tl.sum(shares, 1)
                v = k if v_ptr is None else load_rows(v_ptr, at_key, held, DV, DVP, Q8, TYPE)
                y = tl.dot(shares.to(TYPE), v, y * shrink[:, None], input_precision="ieee")
                peak = higher

    if SPLIT:
        rows = LONGEST * SHARE
        part = ((s.to(tl.int64) * kv_heads + head) * rows + row) * tl.num_programs(2) + split
        tl.store(peak_ptr + part, peak, inside)
        tl.store(total_ptr + part, total, inside)
        tl.store(y_ptr + part[:, None] * DV + dv[None, :], y, (inside & (peak > float("-inf")))[:, None] & (dv < DV)[None, :])
    else:
        if sinks_ptr is not None:
            sink = tl.load(sinks_ptr + query_head, inside, 0.0) * LOG2E
            higher = tl.maximum(peak, sink)
            shrink = tl.exp2(peak - higher)
            y, total = y * shrink[:, None], total * shrink + tl.exp2(sink - higher)
        y = y / tl.where(total > 0, total, 1.0)[:, None]
        to = (at * (kv_heads * SHARE) + query_head)[:, None] * DV + dv[None, :]
        tl.store(y_ptr + to, y.to(y_ptr.dtype.element_ty), inside[:, None] & (dv < DV)[None, :])


@dataclass(frozen=True)
class Keys:
    """The keys and values of a step's sequences: key [entries, Hkv, Dk], value [entries, Hkv, Dv]; uint8 rows are q8_0.

    Without ``value`` the keys are the values too; ``rope`` [entries, Hkv, D2] is a second part of the keys (latent attention). Entries
    are found by ``table`` i32[S, B] of blocks of ``page`` tokens, whose first is block ``start`` i32[S] of the sequence; or, without a
    table, are the tokens of the step.
    """

    key: Tensor
    value: Tensor | None
    rope: Tensor | None = None
    table: Tensor | None = None
    start: Tensor | None = None
    page: int = 1

    @property
    def dims(self) -> tuple[int, int, int]:
        """Dk, D2 and Dv: elements."""
        key, second, value = (0 if x is None else x.shape[-1] for x in (self.key, self.rope, self.value))
        if self.key.dtype == torch.uint8:
            key, second, value = (n // 34 * 32 for n in (key, second, value))
        return key, second, value if self.value is not None else key


@dataclass(frozen=True)
class Score:
    """What becomes of q.k, by the attributes and weights of the op ``attend``: sinks and slopes are f32[H]."""

    scale: float
    causal: bool = True
    window: int = 0
    softcap: float = 0.0
    sinks: Tensor | None = None
    slopes: Tensor | None = None


@dataclass(frozen=True)
class Span:
    """Where the tokens of the step's sequences are: query_start i32[S + 1]; context_len i32[S], and lengths i32[S] of the keys."""

    query_start: Tensor
    context_len: Tensor
    lengths: Tensor


def product_type(q: Tensor, key: Tensor) -> torch.dtype:
    """What is multiplied: halves where queries are halves and keys are stored in no more, f16 for the cache's sake; else f32."""
    if q.dtype == torch.float32 or key.dtype == torch.float32:
        return torch.float32
    return torch.float16 if key.dtype == torch.uint8 else key.dtype


def arguments(q: Tensor, q2: Tensor | None, keys: Keys, score: Score, span: Span) -> tuple[dict[str, Any], dict[str, Any]]:
    """The arguments of ``attend_tile`` that all launches share: the tensors and numbers, and the constants."""
    (dim, second, values), heads = keys.dims, keys.key.shape[1]
    given = {
        "q_ptr": q, "q2_ptr": q2, "k_ptr": keys.key, "k2_ptr": keys.rope, "v_ptr": keys.value,
        "query_start_ptr": span.query_start, "context_ptr": span.context_len, "length_ptr": span.lengths,
        "table_ptr": keys.table, "start_ptr": keys.start, "sinks_ptr": score.sinks, "slopes_ptr": score.slopes,
        "q_stride": q.stride(0), "q2_stride": 0 if q2 is None else q2.stride(0), "width": 0 if keys.table is None else keys.table.shape[1],
        "scale": float(score.scale), "softcap": float(score.softcap) or None,
    }  # fmt: skip
    constants = {
        "SHARE": q.shape[1] // heads, "D": dim, "D2": second, "DV": values, "CAUSAL": score.causal, "WINDOW": score.window,
        "DP": dot_size(dim), "D2P": dot_size(second), "DVP": dot_size(values), "PAGE": keys.page, "OCTAVES": OCTAVE,
        "Q8": keys.key.dtype == torch.uint8, "TYPE": getattr(tl, str(product_type(q, keys.key)).removeprefix("torch.")),
    }  # fmt: skip
    return given, constants


def dot_size(n: int) -> int:
    """The power of two that covers a head's size, 16 at least: what products are made of."""
    return max(16, power_of_two(n))
