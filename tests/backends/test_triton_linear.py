"""Triton's products with quantized weights beside what the formats mean, in float64: every format, odd shapes, each way of multiplying."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("triton")

import torch
from numpy.typing import NDArray
from random_blocks import random_rows
from test_backend_formats import VOCAB, Stored, model, outputs
from torch import Tensor
from triton_cases import TARGETS, compiles, interpreted

from heron.backends import reference
from heron.backends import torch as on_torch
from heron.backends.torch.planes import Planes
from heron.backends.torch.triton import experts
from heron.backends.torch.triton.decode import decode
from heron.backends.torch.triton.linear import DENSE_ROWS, TILES_OF_X, gated_linear, linear
from heron.backends.torch.triton.tiles import TILES
from heron.checkpoint.views import Const
from heron.graph.builder import Builder
from heron.graph.dims import P, T
from heron.graph.graph import Model, Traits, Weight
from heron.quant.dequantize import dequantize
from heron.quant.formats import FORMATS, Format

#: What rounding a number to a type may change of it; triton's interpreter cuts off what bf16 has no room for.
ROUNDING = {torch.float32: 2.0**-24, torch.float16: 2.0**-11, torch.bfloat16: 2.0**-7}

#: Formats that differ in what is compiled for them; those of other group sizes only divide by another constant.
DISTINCT = [name for name in TILES if name not in ("U4_32", "U4_128", "U8_32", "U8_128", "I8_32", "E4M3_32")]


def blocks(name: str, shape: tuple[int, ...], seed: int = 0) -> tuple[Planes, NDArray[np.float64]]:
    """Random weights [..., out, in] of a format, and the numbers that they mean. Scales are such that sums are finite in f16."""
    fmt: Format = FORMATS[name]
    raw = random_rows(fmt, int(np.prod(shape[:-1])), shape[-1], np.random.default_rng(seed))
    stored = raw.reshape(-1).view(fmt.layout)
    for field in {"d", "m", "dmin"} & set(fmt.layout.names or ()):
        stored[field] = (stored[field] / 1024).astype(stored[field].dtype)
    if name == "MXFP4":
        stored["e"] = 118 + stored["e"] % 8
    if name.startswith("E4M3"):
        stored["qs"][stored["qs"] & 0x7F == 0x7F] = 1  # not a number
    raw = raw.reshape(*shape[:-1], -1)
    return Planes.apart(fmt, torch.from_numpy(raw)), dequantize(fmt, raw).astype(np.float64)


def normal(seed: int, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape).astype(np.float32)).to(dtype)


def near(got: Tensor, x: Tensor, w: NDArray[np.float64], bias: Tensor | None = None) -> None:
    """got [..., out] is x [..., in] by w [..., out, in]: each weight and each sum may be rounded to x's type, and sums are in f32."""
    assert got.dtype == x.dtype
    exact = np.einsum("...i,...oi->...o", x.double().numpy(), w) + (0 if bias is None else bias.double().numpy())
    size = np.einsum("...i,...oi->...o", x.double().abs().numpy(), np.abs(w))
    # Minima are added apart from what they are the minima of: of a row's largest number, in f32. The last place of a half is 2^-24.
    sums = x.double().abs().sum(-1, keepdim=True).numpy() * (2.0**-18 * np.abs(w).max(-1) + 2.0**-25 * (x.dtype == torch.float16))
    off = np.abs(got.double().numpy() - exact)
    assert (off <= ROUNDING[x.dtype] * (size + np.abs(exact)) + sums).all(), off.max()


@pytest.mark.parametrize("name", sorted(TILES))
def test_planes_are_the_same_bytes(name: str) -> None:
    fmt = FORMATS[name]
    raw = torch.from_numpy(random_rows(fmt, 10, 3 * fmt.block, np.random.default_rng(0)).reshape(2, 5, -1))
    planes = Planes.apart(fmt, raw)
    assert planes.nbytes == raw.nbytes and planes.shape == (2, 5, 3 * fmt.block)
    assert torch.equal(planes.joined(), raw) and torch.equal(planes[1].joined(), raw[1])
    assert torch.equal(torch.cat([piece.joined() for piece in planes[0].split(2)]), raw[0])


@interpreted
@pytest.mark.parametrize("name", sorted(TILES))
def test_decoding_is_exact(name: str) -> None:
    fmt = FORMATS[name]
    raw = random_rows(fmt, 11, 3 * fmt.block, np.random.default_rng(1))
    meant, planes = torch.from_numpy(dequantize(fmt, raw)), Planes.apart(fmt, torch.from_numpy(raw))
    ids = torch.tensor([[3, 10, 3], [0, 7, 9]])
    assert torch.equal(decode(planes, torch.float32, ids).nan_to_num(7e9), meant[ids].nan_to_num(7e9))
    assert torch.equal(decode(planes, torch.float32, first=2, count=9).nan_to_num(7e9), meant[2:].nan_to_num(7e9))
    assert torch.equal(decode(planes, torch.float16, ids[0, :1]).nan_to_num(1), meant[ids[0, :1]].half().nan_to_num(1))
    assert decode(planes, torch.float32, ids[:0]).shape == (0, 3, 3 * fmt.block)


@interpreted
@pytest.mark.parametrize("name", sorted(TILES))
def test_rows_of_every_kind(name: str) -> None:
    """A row, and tiles of more; one block, and several, which do not fill what a program takes at once; in each type."""
    one, many = (1, 19, FORMATS[name].block), (3, 66, 3 * FORMATS[name].block)
    for rows, (count, out, width) in ((1, one), (1, many), (3, one), (17, many)):
        w, meant = blocks(name, (out, width), count)
        for dtype in (torch.float32, torch.bfloat16) if rows != 17 else (torch.float16,):
            x = normal(rows, rows, width, dtype=dtype)
            near(linear(x, w), x, meant)


@interpreted
@pytest.mark.parametrize("name", ["Q4_0", "Q2_K", "Q8_0"])
@pytest.mark.parametrize("rows", [16, 130])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_many_rows(name: str, rows: int, dtype: torch.dtype) -> None:
    """More than a tile has. In f32 they are multiplied by decoded rows."""
    w, meant = blocks(name, (37, 2 * FORMATS[name].block))
    x, bias = normal(0, rows, w.width, dtype=dtype), normal(1, 37)
    near(linear(x, w, bias), x, meant, bias)
    assert linear(x[:0], w).shape == (0, 37)


@interpreted
@pytest.mark.parametrize("splits", [2, 3])
@pytest.mark.parametrize("rows", [1, 5])
def test_sums_in_pieces(rows: int, splits: int) -> None:
    w, meant = blocks("Q4_K", (21, 10 * 256))  # three steps of a row, 20 of a tile
    x, bias = normal(0, rows, w.width), normal(1, 21)
    near(linear(x, w, bias, splits), x, meant, bias)


@interpreted
def test_rows_decoded_to_memory() -> None:
    w, meant = blocks("Q6_K", (9, 256))
    x = normal(0, DENSE_ROWS + 1, 256, dtype=torch.bfloat16)
    near(linear(x, w), x, meant)


@interpreted
@pytest.mark.parametrize("name", ["Q4_0", "Q4_K"])
@pytest.mark.parametrize(("kind", "limit", "offset"), [("silu", 0.0, 0.0), ("gelu", 0.5, 1.0)])
def test_gated(name: str, kind: str, limit: float, offset: float) -> None:
    width = 2 * FORMATS[name].block
    (gate, gate_meant), (up, up_meant) = blocks(name, (21, width), 1), blocks(name, (21, width), 2)
    x, biases = normal(0, 1, width), (normal(1, 21), normal(2, 21))
    a, b = (torch.from_numpy(x.double().numpy() @ w.T) + bias for w, bias in zip((gate_meant, up_meant), biases, strict=True))
    if limit:
        a, b = a.clamp(max=limit), b.clamp(-limit, limit)
    activated = torch.nn.functional.silu(a) if kind == "silu" else torch.nn.functional.gelu(a, approximate="tanh")
    torch.testing.assert_close(
        gated_linear(x, gate, up, kind, limit, offset, biases), (activated * (b + offset)).float(), rtol=2e-5, atol=1e-4
    )


@interpreted
@pytest.mark.parametrize("name", ["Q4_0", "Q4_K", "MXFP4"])
@pytest.mark.parametrize("tokens", [1, 9])
@pytest.mark.parametrize("shared", [True, False])
def test_experts(name: str, tokens: int, shared: bool) -> None:
    """Each way gives each pair its expert's product; an expert without rows, one with most of them, and some that are elsewhere."""
    count, out, width, k = 5, 19, FORMATS[name].block, 2
    w, meant = blocks(name, (count, out, width))
    bias, rng = normal(1, count, out), np.random.default_rng(tokens)
    ids = torch.from_numpy(rng.choice([-1, 0, 1, 3, 4, 5], (tokens, k), p=[0.05, 0.05, 0.6, 0.1, 0.1, 0.1]))
    x = normal(2, *((tokens, width) if shared else (tokens, k, width)))
    rows = (x[:, None].expand(-1, k, -1) if shared else x).flatten(0, 1)
    there = ((ids >= 0) & (ids < count)).flatten()
    chosen = ids.flatten().clamp(0, count - 1)
    share = k if shared else 1
    ways = [way(x, ids.flatten(), w, bias, share) for way in (experts._by_pair, experts._by_expert)]
    for got in (*ways, experts.expert_linear(x, ids, w, bias).flatten(0, 1)):
        assert (got[~there] == 0).all()
        near(got[there], rows[there], meant[chosen[there]], bias[chosen[there]])


@interpreted
@pytest.mark.parametrize("name", ["Q5_0", "Q3_K", "U4_64", "E4M3_128"])
def test_a_graph_uses_them(name: str) -> None:
    made = model(FORMATS[name])
    meant = outputs(reference, made)
    for n in (1, 12):
        got = outputs(on_torch, made, n)
        assert np.array_equal(got.pop("embed"), meant["embed"][:n], equal_nan=True)
        for op, values in got.items():
            size = np.abs(meant[op]).max(axis=0)
            assert (np.abs(values - meant[op][:n]) <= 2e-5 * size).all() or np.isnan(size).any(), op


def fused(fmt: Format) -> Model:
    """Products that are computed together: three with one x, some with a bias; gate and up, with and without."""
    stored, b = Stored(fmt), Builder("forward")
    tokens, _ = b.input("tokens", (T,), "i32"), b.input("positions", (P, T), "i32")
    x = b.embed(tokens, Weight("x", Const(stored.rng.standard_normal((VOCAB, 2 * fmt.block)))))

    def bias(n: int) -> Weight:
        return Weight("bias", Const(stored.rng.standard_normal(n)))

    parts = b.packed_linear(x, [stored(n, 2 * fmt.block) for n in (19, 5, 40)], [None, bias(5), bias(40)])
    plain = b.gated_linear(x, [stored(19, 2 * fmt.block) for _ in range(2)], [None, None], "silu")
    biased = b.gated_linear(x, [stored(19, 2 * fmt.block) for _ in range(2)], [bias(19), bias(19)], "gelu")
    graph = b.finish(**{f"part{i}": part for i, part in enumerate(parts)}, plain=plain, biased=biased)
    return Model("test", {"forward": graph}, 0, VOCAB, 0, Traits())


@interpreted
@pytest.mark.parametrize("name", ["Q4_0", "Q4_K"])
def test_products_computed_together(name: str) -> None:
    made = fused(FORMATS[name])
    executable = on_torch.prepare(made)
    assert {node.op for node in executable._graphs["forward"].nodes} >= {"packed_linear", "gated_linear"}
    tensors = {id(w.tensor): w.tensor for node in made.entries["forward"].nodes for w in node.weights if w is not None}.values()
    stored = sum(t.n_rows * t.row_bytes for t in tensors)
    assert executable.memory()["weights"] == stored  # no matrix is there twice
    meant = outputs(reference, made)
    for n in (1, 20):
        for op, values in outputs(on_torch, made, n).items():
            size = np.abs(meant[op]).max(axis=0)
            assert (np.abs(values - meant[op][:n]) <= 2e-5 * size).all(), op


def _compiles(name: str, target: str, rows: int) -> None:
    w, x = Planes.empty(FORMATS[name], (4096, 4096)), torch.empty(rows, 4096, dtype=torch.bfloat16)
    compiles(lambda: linear(x, w), target)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", DISTINCT)
def test_every_format_compiles(name: str, target: str) -> None:
    _compiles(name, target, 1)


@pytest.mark.parametrize("target", TARGETS)
def test_every_kernel_compiles(target: str) -> None:
    for tile in TILES_OF_X[:-1]:
        _compiles("Q4_0", target, tile.upto)
    w, x = Planes.empty(FORMATS["Q8_0"], (8, 512, 1024)), torch.empty(1, 1024, dtype=torch.bfloat16)
    bias = torch.empty(512)
    compiles(lambda: gated_linear(x, w[0], w[1], "silu", 7.0, 1.0, (bias, bias)), target)
    compiles(lambda: linear(x, w[0], bias, splits=2), target)
    compiles(lambda: decode(w[0], torch.float16, torch.empty(5, dtype=torch.int64)), target)
    for tokens in (1, 64):
        x, ids = torch.empty(tokens, 1024, dtype=torch.bfloat16), torch.zeros(tokens, 2, dtype=torch.int64)
        compiles(lambda x=x, ids=ids: experts.expert_linear(x, ids, w, torch.empty(8, 512)), target)


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", sorted(TILES))
def test_every_kernel_of_every_format_compiles(name: str, target: str) -> None:
    for tile in TILES_OF_X:
        _compiles(name, target, tile.upto)
    w, ids = Planes.empty(FORMATS[name], (8, 512, 1024)), torch.zeros(64, 2, dtype=torch.int64)
    for dtype in (torch.float32, torch.float16):
        x = torch.empty(64, 1024, dtype=dtype)
        compiles(lambda x=x: linear(x[:17], w[0]), target)
        compiles(lambda x=x: linear(x[:1], w[0]), target)
        compiles(lambda x=x: experts.expert_linear(x, ids, w), target)
        compiles(lambda x=x: experts.expert_linear(x[:1], ids[:1], w), target)
        compiles(lambda dtype=dtype: decode(w[0], dtype, ids), target)
