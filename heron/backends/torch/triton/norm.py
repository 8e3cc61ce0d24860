"""RMSNorm (Zhang and Sennrich 2019), alone or with the residual sum that it takes, and LayerNorm: a program a row, in f32."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from heron.backends.torch.triton.launch import power_of_two


@triton.jit
def _rms_norm(x_ptr, other_ptr, gain_ptr, total_ptr, y_ptr, n, eps, BLOCK: tl.constexpr):
    """x [rows, n] (and other, added to it and kept in total) -> y [rows, n]."""
    at = tl.program_id(0).to(tl.int64) * n + tl.arange(0, BLOCK)
    inside = tl.arange(0, BLOCK) < n
    wide = tl.load(x_ptr + at, inside, 0.0).to(tl.float32)
    if other_ptr is not None:
        total = (wide + tl.load(other_ptr + at, inside, 0.0).to(tl.float32)).to(x_ptr.dtype.element_ty)
        tl.store(total_ptr + at, total, inside)
        wide = total.to(tl.float32)
    y = wide * tl.rsqrt(tl.sum(wide * wide, 0) / n + eps)
    if gain_ptr is not None:
        y *= tl.load(gain_ptr + tl.arange(0, BLOCK), inside, 0.0)
    tl.store(y_ptr + at, y.to(y_ptr.dtype.element_ty), inside)


@triton.jit
def _layer_norm(x_ptr, gain_ptr, bias_ptr, y_ptr, n, eps, BLOCK: tl.constexpr):
    """x [rows, n] -> y [rows, n]."""
    at = tl.program_id(0).to(tl.int64) * n + tl.arange(0, BLOCK)
    inside = tl.arange(0, BLOCK) < n
    x = tl.load(x_ptr + at, inside, 0.0).to(tl.float32)
    centred = tl.where(inside, x - tl.sum(x, 0) / n, 0.0)
    y = centred * tl.rsqrt(tl.sum(centred * centred, 0) / n + eps)
    if gain_ptr is not None:
        y *= tl.load(gain_ptr + tl.arange(0, BLOCK), inside, 0.0)
    if bias_ptr is not None:
        y += tl.load(bias_ptr + tl.arange(0, BLOCK), inside, 0.0)
    tl.store(y_ptr + at, y.to(y_ptr.dtype.element_ty), inside)


def rms_norm(x: Tensor, gain: Tensor | None, eps: float) -> Tensor:
    """x [..., n], gain f32[n] -> [..., n], as x is."""
    x = x.contiguous()
    y = torch.empty_like(x)
    _launch(_rms_norm, x, (None, gain, None, y), eps)
    return y


def add_rms_norm(x: Tensor, other: Tensor, gain: Tensor | None, eps: float) -> tuple[Tensor, Tensor]:
    """x and other [..., n] of one type, gain f32[n] -> their sum, and its norm."""
    x, other = x.contiguous(), other.contiguous()
    total, y = torch.empty_like(x), torch.empty_like(x)
    _launch(_rms_norm, x, (other, gain, total, y), eps)
    return total, y


def layer_norm(x: Tensor, gain: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    """x [..., n], gain and bias f32[n] -> [..., n], as x is."""
    x = x.contiguous()
    y = torch.empty_like(x)
    _launch(_layer_norm, x, (gain, bias, y), eps)
    return y


def _launch(kernel: triton.JITFunction, x: Tensor, rest: tuple[Tensor | None, ...], eps: float) -> None:
    n = x.shape[-1]
    block = power_of_two(n)
    if x.numel():
        kernel[(x.numel() // n,)](x, *rest, n, eps, BLOCK=block, num_warps=min(16, max(1, block // 512)))
