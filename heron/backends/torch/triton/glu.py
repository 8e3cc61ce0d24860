"""Gated activations (Shazeer 2020) and plain ones, in f32. Kinds: heron/graph/ops_core.py."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from heron.backends.torch.triton.launch import cdiv, power_of_two


@triton.jit
def tanh(x):
    """By the exponential of what is negative, which does not overflow."""
    e = tl.exp(-2 * tl.abs(x))
    return tl.where(x < 0, -1.0, 1.0) * (1 - e) / (1 + e)


@triton.jit
def activate(x, KIND: tl.constexpr):
    """KIND of x, f32."""
    if KIND == "silu":
        return x * tl.sigmoid(x)
    elif KIND == "gelu":
        return 0.5 * x * (1 + tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)))
    elif KIND == "gelu_erf":
        return 0.5 * x * (1 + tl.erf(0.7071067811865476 * x))
    elif KIND == "quick_gelu":
        return x * tl.sigmoid(1.702 * x)
    elif KIND == "relu":
        return tl.maximum(x, 0.0)
    elif KIND == "relu2":
        return tl.maximum(x, 0.0) * tl.maximum(x, 0.0)
    elif KIND == "sigmoid":
        return tl.sigmoid(x)
    elif KIND == "tanh":
        return tanh(x)
    elif KIND == "softplus":
        return tl.maximum(x, 0.0) + tl.log(1 + tl.exp(-tl.abs(x)))
    else:
        tl.static_assert(KIND == "exp", "unknown activation")
        return tl.exp(x)


@triton.jit
def _glu(gate_ptr, up_ptr, y_ptr, n, gate_stride, up_stride, limit, offset, KIND: tl.constexpr, LIMITED: tl.constexpr, BLOCK: tl.constexpr):
    row, d = tl.program_id(0).to(tl.int64), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = d < n
    gate = tl.load(gate_ptr + row * gate_stride + d, inside, 0.0).to(tl.float32)
    up = tl.load(up_ptr + row * up_stride + d, inside, 0.0).to(tl.float32)
    if LIMITED:
        gate, up = tl.minimum(gate, limit), tl.clamp(up, -limit, limit)
    tl.store(y_ptr + row * n + d, (activate(gate, KIND) * (up + offset)).to(y_ptr.dtype.element_ty), inside)


def glu(gate: Tensor, up: Tensor, kind: str, limit: float = 0.0, offset: float = 0.0) -> Tensor:
    """gate and up [..., n] of one type -> kind(gate) * (up + offset), both held within the limit first where there is one."""
    y, n = torch.empty(gate.shape, dtype=gate.dtype, device=gate.device), gate.shape[-1]
    gate, up = _rows(gate), _rows(up)
    block = min(1024, power_of_two(n))
    if len(gate):
        _glu[(len(gate), cdiv(n, block))](
            gate, up, y, n, gate.stride(0), up.stride(0), float(limit or 0), float(offset or 0), kind, bool(limit), block
        )  # fmt: skip
    return y


def _rows(x: Tensor) -> Tensor:
    """[rows, n], without a copy where rows only lie apart."""
    x = x if x.dim() == 2 else x.reshape(-1, x.shape[-1])
    return x if x.stride(-1) == 1 else x.contiguous()
