"""Rows of the paged cache as it stores them (heron/backends/torch/state.py): f32, f16, or q8_0's blocks of 32 behind a scale."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from heron.backends.torch.triton.launch import cdiv, power_of_two

#: What one program writes: a token's heads, as many as make up so many elements.
TILE = 2048


@triton.jit
def load_rows(ptr, rows, inside, D: tl.constexpr, DP: tl.constexpr, Q8: tl.constexpr, TYPE: tl.constexpr):
    """Rows i64[K] of [rows, D], zeros where not inside -> TYPE[K, DP], DP the power of two that covers D."""
    d = tl.arange(0, DP)[None, :]
    mask = inside[:, None] if D == DP else inside[:, None] & (d < D)
    if Q8:
        block = rows[:, None] * (D // 32) + d // 32
        values = tl.load(ptr.to(tl.pointer_type(tl.int8)) + block * 34 + 2 + d % 32, mask, 0).to(tl.float32)
        return (values * tl.load(ptr.to(tl.pointer_type(tl.float16)) + block * 17, mask, 0.0).to(tl.float32)).to(TYPE)
    return tl.load(ptr + rows[:, None] * D + d, mask, 0.0).to(TYPE)


@triton.jit
def store_rows(ptr, rows, inside, x, D: tl.constexpr, DP: tl.constexpr, H: tl.constexpr, Q8: tl.constexpr):
    """x f32[H, DP] into rows i64[H] of [rows, D], where inside."""
    d = tl.arange(0, DP)[None, :]
    mask = inside[:, None] if D == DP else inside[:, None] & (d < D)
    if Q8:
        blocks = tl.reshape(x, (H, DP // 32, 32))
        scale = tl.math.div_rn(tl.max(tl.abs(blocks), 2), 127.0)
        inverse = tl.where(scale > 0, tl.math.div_rn(1.0, tl.where(scale > 0, scale, 1.0)), 0.0)
        scaled = tl.reshape(blocks * inverse[:, :, None], (H, DP))
        rounded = tl.floor(tl.abs(scaled) + 0.5)  # halves away from zero
        at = rows[:, None] * (D // 32)
        values = tl.where(scaled < 0, -rounded, rounded).to(tl.int8)
        tl.store(ptr.to(tl.pointer_type(tl.int8)) + (at + d // 32) * 34 + 2 + d % 32, values, mask)
        b = tl.arange(0, DP // 32)[None, :]
        held = inside[:, None] & (b < D // 32)
        tl.store(ptr.to(tl.pointer_type(tl.float16)) + (at + b) * 17, scale.to(tl.float16), held)
    else:
        tl.store(ptr + rows[:, None] * D + d, x.to(ptr.dtype.element_ty), mask)


@triton.jit
def store_heads(
    x_ptr, to_ptr, entry, part, HEADS: tl.constexpr, D: tl.constexpr, DP: tl.constexpr, H: tl.constexpr, Q8: tl.constexpr
):  # fmt: skip
    """The part-th H heads of a token's, which begin at x_ptr, into its entry."""
    head, d = part * H + tl.arange(0, H), tl.arange(0, DP)
    inside = (head < HEADS)[:, None] & (d < D)[None, :]
    x = tl.load(x_ptr + head[:, None] * D + d[None, :], inside, 0.0).to(tl.float32)
    store_rows(to_ptr, entry * HEADS + head, head < HEADS, x, D, DP, H, Q8)


@triton.jit
def _write(
    x_ptr, other_ptr, to_ptr, other_to_ptr, own_ptr, stride, other_stride,
    HEADS: tl.constexpr, OTHER_HEADS: tl.constexpr, D: tl.constexpr, OTHER_D: tl.constexpr, DP: tl.constexpr, OTHER_DP: tl.constexpr,
    H: tl.constexpr, OTHER_H: tl.constexpr, Q8: tl.constexpr,
):  # fmt: skip
    """Two fields at once: the first program axis goes over tokens, the second over heads of x and then of other."""
    token = tl.program_id(0).to(tl.int64)
    entry = tl.load(own_ptr + token).to(tl.int64)
    part = tl.program_id(1)
    first: tl.constexpr = (HEADS + H - 1) // H
    if part < first:
        store_heads(x_ptr + token * stride, to_ptr, entry, part, HEADS, D, DP, H, Q8)
    else:
        from_ptr = other_ptr + token * other_stride
        store_heads(from_ptr, other_to_ptr, entry, part - first, OTHER_HEADS, OTHER_D, OTHER_DP, OTHER_H, Q8)


def token_rows(x: Tensor) -> Tensor:
    """The tensor with each token's values side by side; tokens may lie apart, as slices of a wider product do."""
    return x if x[:1].is_contiguous() else x.contiguous()


def heads_a_program(heads: int, dim: int) -> tuple[int, int]:
    """How many heads of this size one program takes, and the power of two that covers the size."""
    padded = power_of_two(dim)
    return min(power_of_two(heads), max(1, TILE // padded)), padded


def write(key: Tensor, value: Tensor, keys: Tensor, values: Tensor, own: Tensor) -> None:
    """key [T, Hkv, Dk] and value [T, Hv, Dv] into the stored fields keys and values (uint8 is q8_0), at the places own i32[T]."""
    key, value, q8 = token_rows(key), token_rows(value), keys.dtype == torch.uint8
    (heads, dim), (other_heads, other_dim) = key.shape[1:], value.shape[1:]
    (h, padded), (other_h, other_padded) = heads_a_program(heads, dim), heads_a_program(other_heads, other_dim)
    if len(key):
        _write[(len(key), cdiv(heads, h) + cdiv(other_heads, other_h))](
            key, value, keys, values, own, key.stride(0), value.stride(0),
            heads, other_heads, dim, other_dim, padded, other_padded, h, other_h, q8, num_warps=2,
        )  # fmt: skip
