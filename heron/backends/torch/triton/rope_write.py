"""Rope of queries and keys, and the write of keys and values to the cache, in one launch: no turned key lies anywhere else."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from heron.backends.torch.triton.cache import heads_a_program, store_heads, store_rows, token_rows
from heron.backends.torch.triton.launch import cdiv
from heron.backends.torch.triton.rope import section_ends, turned


@triton.jit
def _rope_write(
    q_ptr, k_ptr, v_ptr, y_ptr, keys_ptr, values_ptr, own_ptr, positions_ptr, frequencies_ptr, q_stride, k_stride, v_stride, tokens, scale,
    QUERIES: tl.constexpr, KEYS: tl.constexpr, D: tl.constexpr, V: tl.constexpr, DP: tl.constexpr, VP: tl.constexpr,
    QH: tl.constexpr, KH: tl.constexpr, VH: tl.constexpr, N: tl.constexpr, ADJACENT: tl.constexpr,
    END0: tl.constexpr, END1: tl.constexpr, END2: tl.constexpr, Q8: tl.constexpr,
):  # fmt: skip
    """The first program axis goes over tokens, the second over heads of q, then of k, then of v."""
    token = tl.program_id(0).to(tl.int64)
    part = tl.program_id(1)
    before_k: tl.constexpr = (QUERIES + QH - 1) // QH
    before_v: tl.constexpr = before_k + (KEYS + KH - 1) // KH
    if part < before_k:
        query, d = part * QH + tl.arange(0, QH), tl.arange(0, DP)
        q_inside = (query < QUERIES)[:, None] & (d < D)[None, :]
        q = turned(
            q_ptr, token * q_stride + query * D, q_inside, positions_ptr, frequencies_ptr, token, tokens, scale, DP, N, ADJACENT,
            END0, END1, END2,
        )  # fmt: skip
        tl.store(y_ptr + (token * QUERIES + query)[:, None] * D + d[None, :], q.to(y_ptr.dtype.element_ty), q_inside)
    else:
        entry = tl.load(own_ptr + token).to(tl.int64)
        if part < before_v:
            key, d = (part - before_k) * KH + tl.arange(0, KH), tl.arange(0, DP)
            k_inside = (key < KEYS)[:, None] & (d < D)[None, :]
            k = turned(
                k_ptr, token * k_stride + key * D, k_inside, positions_ptr, frequencies_ptr, token, tokens, scale, DP, N, ADJACENT,
                END0, END1, END2,
            )  # fmt: skip
            store_rows(keys_ptr, entry * KEYS + key, key < KEYS, k, D, DP, KH, Q8)
        else:
            store_heads(v_ptr + token * v_stride, values_ptr, entry, part - before_v, KEYS, V, VP, VH, Q8)


def rope_write(
    q: Tensor, k: Tensor, v: Tensor, keys: Tensor, values: Tensor, own: Tensor, positions: Tensor, frequencies: Tensor, pairing: str,
    scale: float, sections: Sequence[int] = (),
) -> Tensor:  # fmt: skip
    """q [T, H, D] -> as ``rope`` turns it; k [T, Hkv, D], turned too, and v [T, Hkv, Dv] into the cache as ``cache.write`` does."""
    q, k, v, positions, n = token_rows(q), token_rows(k), token_rows(v), positions.contiguous(), len(frequencies)
    tokens, heads, dim = q.shape
    kv, width = v.shape[1:]
    (qh, padded), (kh, _), (vh, v_padded) = heads_a_program(heads, dim), heads_a_program(kv, dim), heads_a_program(kv, width)
    y = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    if tokens:
        _rope_write[(tokens, cdiv(heads, qh) + cdiv(kv, kh) + cdiv(kv, vh))](
            q, k, v, y, keys, values, own, positions, frequencies, q.stride(0), k.stride(0), v.stride(0), tokens, scale,
            heads, kv, dim, width, padded, v_padded, qh, kh, vh, n, pairing == "adjacent", *section_ends(n, sections),
            keys.dtype == torch.uint8, num_warps=2,
        )  # fmt: skip
    return y
