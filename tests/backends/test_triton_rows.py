"""Triton's kernels over rows beside the reference: norms, gated activations, rotations, cache writes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("triton")

import torch
from torch import Tensor
from triton_cases import TARGETS, compiles, interpreted

from heron.backends.torch.core import ACTIVATION
from heron.backends.torch.decode import Q8_0, dequantize
from heron.backends.torch.triton import cache
from heron.backends.torch.triton.glu import glu
from heron.backends.torch.triton.norm import add_rms_norm, layer_norm, rms_norm
from heron.backends.torch.triton.rope import rope
from heron.backends.torch.triton.rope_write import rope_write
from heron.quant.quantize import quantize

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


@interpreted
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 2), (3, 37), (2, 5, 64)])
def test_add_rms_norm(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """The norm is of the sum as it is kept."""
    x, other, gain = normal(0, *shape, dtype=dtype), normal(1, *shape, dtype=dtype), normal(2, shape[-1])
    total, y = add_rms_norm(x, other, gain, 1e-6)
    near(total, (x + other).float(), dtype)  # the interpreter rounds to bf16 towards zero
    wide = total.float().numpy()
    near(y, wide / np.sqrt(np.mean(wide**2, -1, keepdims=True) + 1e-6) * gain.numpy(), dtype)


@interpreted
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [2, 37, 64])
def test_layer_norm(n: int, dtype: torch.dtype) -> None:
    x, gain, bias = normal(0, 3, n, dtype=dtype) + 5, normal(1, n), normal(2, n)
    wide = x.float().numpy()
    centred = wide - wide.mean(-1, keepdims=True)
    expected = centred / np.sqrt(np.mean(centred**2, -1, keepdims=True) + 1e-5)
    near(layer_norm(x, None, None, 1e-5), expected, dtype)
    near(layer_norm(x, gain, bias, 1e-5), expected * gain.numpy() + bias.numpy(), dtype)


@interpreted
@pytest.mark.parametrize("kind", ACTIVATION)
@pytest.mark.parametrize(("limit", "offset"), [(0.0, 0.0), (1.5, 1.0)])
def test_glu(kind: str, limit: float, offset: float) -> None:
    """Gate and up as slices of one product, and far from zero."""
    both = normal(0, 7, 2 * 1100) * 20
    gate, up = both.split(1100, -1)
    if kind == "exp":
        gate = gate / 10
    wide, other = gate.double(), up.double()
    if limit:
        wide, other = wide.clamp(max=limit), other.clamp(-limit, limit)
    near(glu(gate, up, kind, limit, offset), ACTIVATION[kind](wide) * (other + offset), torch.float32)


@interpreted
@pytest.mark.parametrize("dtype", DTYPES[1:])
def test_glu_in_half(dtype: torch.dtype) -> None:
    gate, up = normal(0, 2, 3, 40, dtype=dtype), normal(1, 2, 3, 40, dtype=dtype)
    near(glu(gate, up, "silu"), ACTIVATION["silu"](gate.float()) * up.float(), dtype)


@interpreted
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("pairing", ["adjacent", "half"])
@pytest.mark.parametrize(("dim", "n", "sections"), [(32, 16, ()), (48, 12, ()), (6, 1, ()), (40, 17, (5, 2, 10)), (16, 8, (2, 1, 1, 4))])
def test_rope(dim: int, n: int, sections: tuple[int, ...], pairing: str, dtype: torch.dtype) -> None:
    """Whole heads and parts of them, several axes, tokens that lie apart."""
    rng = np.random.default_rng(3)
    x = normal(0, 5, 3 * dim + 7, dtype=dtype)[:, : 3 * dim].reshape(5, 3, dim)
    positions = rng.integers(0, 300, (max(1, len(sections)), 5)).astype(np.int32)
    frequencies = (10.0 ** (-3 * np.arange(n) / n)).astype(np.float32)
    expected = turned(x, positions, frequencies, pairing, 1.25, sections)
    got = rope(x, torch.from_numpy(positions), torch.from_numpy(frequencies), pairing, 1.25, sections)
    near(got, expected, dtype) if dtype != torch.float32 else np.testing.assert_allclose(got.numpy(), expected, atol=1e-4)


@interpreted
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("stored", ["f32", "f16", "q8_0"])
@pytest.mark.parametrize(("heads", "dim", "other"), [(2, 64, (2, 64)), (3, 96, (1, 32)), (1, 512, (5, 160))])
def test_cache_write(heads: int, dim: int, other: tuple[int, int], stored: str, dtype: torch.dtype) -> None:
    """Bytes as numpy's, at the places that are named, and nothing elsewhere."""
    key, value = normal(0, 4, heads * dim + 3, dtype=dtype)[:, : heads * dim].reshape(4, heads, dim), normal(1, 4, *other, dtype=dtype)
    value[1] = 0
    own = np.array([7, 2, 3, 9])
    fields = [field(stored, 11, *shape) for shape in ((heads, dim), other)]
    cache.write(key, value, *fields, torch.from_numpy(own).int())
    for x, got in zip((key, value), fields, strict=True):
        wide = x.float().numpy()
        expected = np.zeros((11, *got.shape[1:]), got.numpy().dtype)
        expected[own] = quantize(Q8_0, wide) if stored == "q8_0" else wide.astype(expected.dtype)
        np.testing.assert_array_equal(got.numpy(), expected)


def turned(
    x: Tensor, positions: NDArray[np.int32], frequencies: NDArray[np.float32], pairing: str, scale: float, sections: tuple[int, ...]
) -> NDArray[np.float32]:
    """x [T, H, D] after rope, by complex numbers."""
    n, y = len(frequencies), x.float().numpy().copy()
    axis = np.repeat(np.arange(len(sections)), sections) if sections else np.zeros(n, np.intp)
    turn = np.exp(1j * (positions[axis].T * frequencies)[:, None, :])
    first, second = (slice(0, 2 * n, 2), slice(1, 2 * n, 2)) if pairing == "adjacent" else (slice(0, n), slice(n, 2 * n))
    pairs = (y[..., first] + 1j * y[..., second]) * turn * scale
    y[..., first], y[..., second] = pairs.real, pairs.imag
    return y


@interpreted
@pytest.mark.parametrize(("stored", "dtype"), [("f32", torch.float32), ("f16", torch.float16), ("q8_0", torch.bfloat16)])
@pytest.mark.parametrize("pairing", ["adjacent", "half"])
@pytest.mark.parametrize(
    ("heads", "kv", "dim", "value_dim", "n", "sections"),
    [(4, 2, 64, 64, 32, ()), (7, 1, 96, 32, 20, ()), (15, 3, 32, 160, 16, (5, 2, 9)), (1, 1, 512, 64, 1, ()), (20, 20, 128, 128, 64, ())],
)
def test_rope_write(
    heads: int, kv: int, dim: int, value_dim: int, n: int, sections: tuple[int, ...], pairing: str, stored: str, dtype: torch.dtype
) -> None:
    """Queries, keys and values beside each other in one product: queries come out, keys and values lie where they are named alone."""
    sizes, tokens, rng = (heads * dim, kv * dim, kv * value_dim), 4, np.random.default_rng(3)
    parts = normal(0, tokens, sum(sizes), dtype=dtype).split(sizes, -1)
    q, k, v = (x.reshape(tokens, -1, d) for x, d in zip(parts, (dim, dim, value_dim), strict=True))
    positions = rng.integers(0, 300, (max(1, len(sections)), tokens)).astype(np.int32)
    frequencies = (10.0 ** (-3 * np.arange(n) / n)).astype(np.float32)
    own = np.array([7, 2, 3, 9])
    keys, values = field(stored, 11, kv, dim), field(stored, 11, kv, value_dim)
    given = (torch.from_numpy(own), torch.from_numpy(positions), torch.from_numpy(frequencies))
    got = rope_write(q, k, v, keys, values, *given, pairing, 1.25, sections)
    turned_q, turned_k = (turned(x, positions, frequencies, pairing, 1.25, sections) for x in (q, k))
    near(got, turned_q, dtype) if dtype != torch.float32 else np.testing.assert_allclose(got.numpy(), turned_q, atol=1e-4)
    bound = {"f32": 1e-4, "f16": 3e-3, "q8_0": float(np.abs(turned_k).max()) / 127}[stored]
    np.testing.assert_allclose(read(stored, keys[own]), turned_k, atol=bound)
    exact = quantize(Q8_0, v.float().numpy()) if stored == "q8_0" else v.float().numpy().astype(values.numpy().dtype)
    np.testing.assert_array_equal(values[own].numpy(), exact)
    others = np.setdiff1d(np.arange(11), own)
    assert not keys[others].any() and not values[others].any()


def read(stored: str, x: Tensor) -> NDArray[np.float32]:
    numbers: NDArray[np.float32] = (dequantize(Q8_0, x) if stored == "q8_0" else x.float()).numpy()
    return numbers


def field(stored: str, entries: int, heads: int, dim: int) -> Tensor:
    if stored == "q8_0":
        return torch.zeros(entries, heads, Q8_0.row_bytes(dim), dtype=torch.uint8)
    return torch.zeros(entries, heads, dim, dtype={"f32": torch.float32, "f16": torch.float16}[stored])


@pytest.mark.parametrize("target", TARGETS)
def test_norms_compile(target: str) -> None:
    x, gain = torch.empty(4, 4096, dtype=torch.bfloat16), torch.empty(4096)
    compiles(lambda: rms_norm(x, gain, 1e-5), target)
    compiles(lambda: add_rms_norm(x, x, gain, 1e-5), target)
    compiles(lambda: layer_norm(x, gain, gain, 1e-5), target)


@pytest.mark.parametrize("target", TARGETS)
def test_the_others_compile(target: str) -> None:
    half, own, frequencies = torch.empty(4, 8, 128, dtype=torch.bfloat16), torch.empty(3, 4, dtype=torch.int32), torch.empty(64)
    for kind in ACTIVATION:
        compiles(lambda kind=kind: glu(half, half, kind), target)
    compiles(lambda: glu(half, half, "silu", 7.0, 1.0), target)
    compiles(lambda: rope(half, own, frequencies, "half", 1.0), target)
    compiles(lambda: rope(half[:1], own[:, :1], frequencies, "half", 1.0), target)
    compiles(lambda: rope(half, own, frequencies[:20], "adjacent", 1.5, (5, 5, 10)), target)
    for stored in ("f32", "f16", "q8_0"):
        fields = field(stored, 9, 8, 128), field(stored, 9, 8, 128)
        compiles(lambda fields=fields: cache.write(half, half, *fields, own), target)


@pytest.mark.parametrize("stored", ["f32", "f16", "q8_0"])
@pytest.mark.parametrize("target", TARGETS)
def test_cache_write_compiles_for_fields_of_two_sizes(target: str, stored: str) -> None:
    """A latent and its rope key."""
    latent, rope_key, own = torch.empty(4, 1, 512), torch.empty(4, 1, 64), torch.empty(4, dtype=torch.int64)
    assert compiles(lambda: cache.write(latent, rope_key, field(stored, 9, 1, 512), field(stored, 9, 1, 64), own), target) == 1


@pytest.mark.parametrize("stored", ["f32", "f16", "q8_0"])
@pytest.mark.parametrize("target", TARGETS)
def test_rope_write_compiles(target: str, stored: str) -> None:
    """Many heads that share 8, all of one size; and sections, parts of heads, and one token."""
    dtype, places = torch.float32 if stored == "f32" else torch.bfloat16, torch.empty(4, dtype=torch.int64)
    positions, frequencies = torch.empty(3, 4, dtype=torch.int32), torch.empty(64)
    q, k = torch.empty(4, 32, 128, dtype=dtype), torch.empty(4, 8, 128, dtype=dtype)
    fields = field(stored, 9, 8, 128), field(stored, 9, 8, 128)
    assert compiles(lambda: rope_write(q, k, k, *fields, places, positions, frequencies, "half", 1.0), target) == 1
    q, k, v = torch.empty(1, 7, 96, dtype=dtype), torch.empty(1, 1, 96, dtype=dtype), torch.empty(1, 1, 64, dtype=dtype)
    fields = field(stored, 9, 1, 96), field(stored, 9, 1, 64)
    rest = (places[:1], positions[:, :1], frequencies[:20], "adjacent", 1.5, (5, 5, 10))
    assert compiles(lambda: rope_write(q, k, v, *fields, *rest), target) == 1
