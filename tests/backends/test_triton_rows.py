"""Triton's kernels over rows beside the reference: norms, gated activations, rotations, cache writes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("triton")

import torch
from torch import Tensor
from triton_cases import TARGETS, compiles, interpreted

from heron.backends.torch.triton.norm import add_rms_norm, layer_norm, rms_norm

#: What rounding to a type may turn of a value near 1; f32 also adds up in another order.
NEAR = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}
DTYPES = tuple(NEAR)


def normal(seed: int, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape).astype(np.float32)).to(dtype)


def near(got: Tensor, expected: Any, dtype: torch.dtype) -> None:
    assert got.dtype == dtype
    np.testing.assert_allclose(got.float().numpy(), np.asarray(expected), rtol=NEAR[dtype], atol=NEAR[dtype])


@interpreted
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (3, 37), (2, 5, 64)])
def test_rms_norm(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x, gain = normal(0, *shape, dtype=dtype), normal(1, shape[-1])
    wide = x.float().numpy()
    expected = wide / np.sqrt(np.mean(wide**2, -1, keepdims=True) + 1e-3)
    near(rms_norm(x, None, 1e-3), expected, dtype)
    near(rms_norm(x, gain, 1e-3), expected * gain.numpy(), dtype)


@pytest.mark.parametrize("target", TARGETS)
def test_norms_compile(target: str) -> None:
    x, gain = torch.empty(4, 4096, dtype=torch.bfloat16), torch.empty(4096)
    compiles(lambda: rms_norm(x, gain, 1e-5), target)
    compiles(lambda: add_rms_norm(x, x, gain, 1e-5), target)
    compiles(lambda: layer_norm(x, gain, gain, 1e-5), target)
