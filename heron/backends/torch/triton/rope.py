"""Rotary positions (Su et al. 2021): each program turns some heads of one token. Meaning: heron/graph/ops_attention.py."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch
import triton
import triton.language as tl
from torch import Tensor

from heron.backends.torch.triton.cache import heads_a_program, token_rows
from heron.backends.torch.triton.launch import cdiv

#: Axes of positions that sections may name: text, time, height, width.
AXES = 4


@triton.jit
def turned(
    x_ptr, at, inside, positions_ptr, frequencies_ptr, token, tokens, scale, DP: tl.constexpr, N: tl.constexpr, ADJACENT: tl.constexpr,
    END0: tl.constexpr, END1: tl.constexpr, END2: tl.constexpr,
):  # fmt: skip
    """The heads that begin at x_ptr + at i64[H], their first 2 N elements turned by the token's place -> f32[H, DP]."""
    d = tl.arange(0, DP)
    pair = d // 2 if ADJACENT else d % N
    second = d % 2 == 1 if ADJACENT else d >= N
    turns = d < 2 * N
    pair = tl.where(turns, pair, 0)
    axis = (pair >= END0).to(tl.int32) + (pair >= END1).to(tl.int32) + (pair >= END2).to(tl.int32)
    place = tl.load(positions_ptr + axis * tokens + token).to(tl.float32)
    angle = place * tl.load(frequencies_ptr + pair)
    cosine = tl.where(turns, tl.cos(angle) * scale, 1.0)
    sine = tl.where(turns, tl.where(second, tl.sin(angle), -tl.sin(angle)) * scale, 0.0)
    step: tl.constexpr = 1 if ADJACENT else N
    partner = tl.where(turns, tl.where(second, d - step, d + step), d)
    x = tl.load(x_ptr + at[:, None] + d[None, :], inside, 0.0).to(tl.float32)
    other = tl.load(x_ptr + at[:, None] + partner[None, :], inside, 0.0).to(tl.float32)
    return x * cosine[None, :] + other * sine[None, :]


@triton.jit
def _rope(
    x_ptr, y_ptr, positions_ptr, frequencies_ptr, stride, tokens, scale, HEADS: tl.constexpr, D: tl.constexpr, DP: tl.constexpr,
    H: tl.constexpr, N: tl.constexpr, ADJACENT: tl.constexpr, END0: tl.constexpr, END1: tl.constexpr, END2: tl.constexpr,
):  # fmt: skip
    token = tl.program_id(0).to(tl.int64)
    head, d = tl.program_id(1) * H + tl.arange(0, H), tl.arange(0, DP)
    inside = (head < HEADS)[:, None] & (d < D)[None, :]
    y = turned(
        x_ptr, token * stride + head * D, inside, positions_ptr, frequencies_ptr, token, tokens, scale, DP, N, ADJACENT, END0, END1, END2
    )  # fmt: skip
    tl.store(y_ptr + (token * HEADS + head)[:, None] * D + d[None, :], y.to(y_ptr.dtype.element_ty), inside)


def section_ends(n: int, sections: Sequence[int]) -> list[int]:
    """The frequency behind the last of each of the first three position axes."""
    return (list(accumulate(sections)) + [n] * AXES)[: AXES - 1]


def rope(x: Tensor, positions: Tensor, frequencies: Tensor, pairing: str, scale: float, sections: Sequence[int] = ()) -> Tensor:
    """x [T, H, D], positions i32[P, T], frequencies f32[n] -> [T, H, D]; pairs are ``adjacent``, or ``half`` of 2n apart."""
    x, positions, n = token_rows(x), positions.contiguous(), len(frequencies)
    tokens, heads, dim = x.shape
    h, padded = heads_a_program(heads, dim)
    y = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    if tokens:
        _rope[(tokens, cdiv(heads, h))](
            x, y, positions, frequencies, x.stride(0), tokens, scale, heads, dim, padded, h, n, pairing == "adjacent",
            *section_ends(n, sections), num_warps=2,
        )  # fmt: skip
    return y
