"""Every layout of every instruction set that this machine has, held to the decoding in numpy (gguf-py's) and to float64 products."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from random_blocks import random_rows

from heron.quant.dequantize import dequantize
from heron.quant.formats import FORMATS, Format

_core = pytest.importorskip("heron._core")

ISAS = _core.instruction_sets()
PLAIN = ("F32", "F16", "BF16")
QUANTIZED = (
    *("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"),
    *("IQ4_NL", "IQ4_XS", "MXFP4", "NVFP4", "TQ1_0", "TQ2_0", "Q1_0", "Q2_0"),
    *("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S"),
    *(f"U{bits}_{group}" for bits in (2, 3, 4) for group in (32, 64, 128)),
    *("I8_32", "I8_128"),
)
DECODED = ("Q8_1", "Q8_K")  # formats that have no kernel of their own
NUMBERS = ("U8_32", "U8_64", "U8_128", "E4M3_32", "E4M3_128", "NF4_64", "FP4_64")  # that are made f32 as they are multiplied
IN_PAIRS = {"F16", "BF16", *DECODED}  # multiplied in tiles as sums of two bf16
PAIRS = 2**-15  # what is left out: the third bf16 of an activation (2^-17), and the product of the second ones
ROWS = (1, 3, 16, 17, 50)
TOKENS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 17, 33, 64)
GROUP = 32

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]


def lengths(name: str) -> tuple[int, ...]:
    """Row lengths: a block, several, and more than are unpacked at a time; for plain formats odd ones."""
    block = FORMATS[name].block
    return (1, 7, 33, 301) if block == 1 else (block, 3 * block, 1024 + 2 * block)


def packed(fmt: Format, isa: str, raw: Bytes, k: int) -> _core.Packed:
    matrix = _core.Packed(fmt.id, isa, len(raw), k)
    matrix.pack(0, raw)
    return matrix


def quantized(x: Floats) -> NDArray[np.float64]:
    """The definition of int8 activations: 32 neighbours share a scale, the largest of them divided by 127."""
    groups = x.reshape(len(x), -1, GROUP)
    most = np.abs(groups).max(-1, keepdims=True)
    inverse = np.divide(np.float32(127), most, out=np.zeros_like(most), where=most > 1e-35)
    return (np.rint(groups * inverse) * (most / np.float32(127)).astype(np.float64)).reshape(x.shape)


def random_tokens(n: int, k: int, rng: np.random.Generator) -> Floats:
    """Tokens of unlike sizes; one of zeros, one with an outlier, one of nothing but extremes."""
    x = rng.standard_normal((n, k)) * 10.0 ** rng.integers(-3, 3, (n, 1))
    x[2 % n] = 0
    x[3 % n, k // 2] *= 1000
    x[5 % n] = np.where(np.arange(k) % 3, 1.0, -1.0)
    return x.astype(np.float32)


def error(got: Floats, x: NDArray[np.floating], w: Floats) -> float:
    """The largest difference from the float64 product, relative to the lengths of the vectors multiplied."""
    x64, w64 = x.astype(np.float64), w.astype(np.float64)
    size = np.linalg.norm(x64, axis=1)[:, None] * np.linalg.norm(w64, axis=1)
    return float((np.abs(got - x64 @ w64.T) / np.maximum(size, 1e-30)).max())


def test_every_format_with_blocks_is_here() -> None:
    assert {name for name, fmt in FORMATS.items() if not fmt.plain} == {*QUANTIZED, *DECODED, *NUMBERS}


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", PLAIN + QUANTIZED + DECODED + NUMBERS)
def test_rows_are_taken_out_of_panels_as_they_were(name: str, isa: str) -> None:
    fmt, rng = FORMATS[name], np.random.default_rng(0)
    for k in lengths(name):
        for rows in ROWS:
            raw = random_rows(fmt, rows, k, rng)
            index = rng.permutation(rows).astype(np.int32)
            got = packed(fmt, isa, raw, k).unpack_rows(index)
            assert np.array_equal(got.view(np.uint32), dequantize(fmt, raw)[index].view(np.uint32))


@pytest.mark.parametrize("activations", ["f32", "int8"])
@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", PLAIN + QUANTIZED + DECODED + NUMBERS)
def test_products_are_those_of_float64_and_the_same_bits_however_tokens_are_batched(name: str, isa: str, activations: str) -> None:
    fmt, rng = FORMATS[name], np.random.default_rng(1)
    for k in lengths(name):
        for rows in ROWS:
            raw = random_rows(fmt, rows, k, rng)
            matrix, w = packed(fmt, isa, raw, k), dequantize(fmt, raw)
            x = random_tokens(max(TOKENS), k, rng)
            together = matrix.linear(x, activations)
            meant = quantized(x) if activations == "int8" and name in QUANTIZED else x
            assert error(together, meant, w) <= (PAIRS if isa == "amx" and activations == "int8" and name in IN_PAIRS else 1e-5)
            for tokens in TOKENS:
                alone = matrix.linear(x[-tokens:], activations)
                assert np.array_equal(alone.view(np.uint32), together[-tokens:].view(np.uint32)), (k, rows, tokens)


@pytest.mark.skipif("amx" not in ISAS, reason="this CPU has no AMX")
@pytest.mark.parametrize("name", QUANTIZED)
def test_tiles_give_the_bits_of_vectors(name: str) -> None:
    fmt, rng = FORMATS[name], np.random.default_rng(6)
    for k in lengths(name):
        for rows in ROWS:
            raw, x = random_rows(fmt, rows, k, rng), random_tokens(37, k, rng)
            tiles, vectors = (packed(fmt, isa, raw, k).linear(x) for isa in ("amx", "avx512"))
            assert np.array_equal(tiles.view(np.uint32), vectors.view(np.uint32)), (k, rows)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", QUANTIZED)
def test_int8_activations_cost_little(name: str, isa: str) -> None:
    fmt, rng = FORMATS[name], np.random.default_rng(2)
    raw = random_rows(fmt, 50, 1024, rng)
    w, x = dequantize(fmt, raw).astype(np.float64), rng.standard_normal((17, 1024)).astype(np.float32)
    exact = x.astype(np.float64) @ w.T
    got = packed(fmt, isa, raw, 1024).linear(x)
    assert 0 < ((got - exact) ** 2).sum() / (exact**2).sum() <= 5e-4


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", ["F16", "Q4_0", "Q4_K", "MXFP4", "IQ3_S"])
@pytest.mark.parametrize("tokens", [2, 19])
def test_threads_pieces_bias_and_gathered_tokens_change_no_bits(name: str, isa: str, tokens: int) -> None:
    fmt, rng, k, rows = FORMATS[name], np.random.default_rng(3), 512, 50
    raw = random_rows(fmt, 3 * rows, k, rng)
    x, bias = random_tokens(30, k, rng), rng.standard_normal(rows).astype(np.float32)
    experts = _core.Packed(fmt.id, isa, rows, k, 3)
    piece = 2 * experts.panel_rows
    for expert in range(3):
        for first in range(0, rows, piece):
            at = expert * rows + first
            experts.pack(at, raw[at : expert * rows + min(rows, first + piece)], threads=2)
    chosen = rng.integers(0, len(x), tokens).astype(np.int32)
    for expert in range(3):
        own = packed(fmt, isa, raw[expert * rows : (expert + 1) * rows], k).linear(np.ascontiguousarray(x[chosen]), threads=1)
        got = experts.linear(x, threads=2, bias=bias, matrix=expert, rows=chosen)
        assert np.array_equal(got, own + bias)
        last = np.array([rows - 1], np.int32)
        assert np.array_equal(experts.unpack_rows(last, expert), dequantize(fmt, raw[expert * rows + last]))


@pytest.mark.parametrize("activations", ["f32", "int8"])
@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", ["F16", "Q4_0", "Q4_K", "Q6_K"])
@pytest.mark.parametrize("spoiled", [np.nan, np.inf, -np.inf])
def test_a_token_that_is_not_finite_stays_so_and_alone(name: str, isa: str, activations: str, spoiled: float) -> None:
    fmt, rng = FORMATS[name], np.random.default_rng(4)
    matrix = packed(fmt, isa, random_rows(fmt, 17, 512, rng), 512)
    x = rng.standard_normal((7, 512)).astype(np.float32)
    clean = matrix.linear(x, activations)
    x[4, 100] = spoiled
    got = matrix.linear(x, activations)
    others = [0, 1, 2, 3, 5, 6]
    assert np.array_equal(got[others], clean[others])
    assert not np.isfinite(got[4]).any()


def test_what_does_not_fit_is_refused() -> None:
    fmt, isa = FORMATS["Q4_0"], ISAS[-1]
    with pytest.raises(ValueError, match="whole blocks"):
        _core.Packed(fmt.id, isa, 4, 33)
    with pytest.raises(ValueError, match="does not run"):
        _core.Packed(fmt.id, "mmx", 4, 32)
    with pytest.raises(ValueError, match="no layout"):
        _core.Packed(99, isa, 4, 32)
    matrix = _core.Packed(fmt.id, isa, 4, 32)
    with pytest.raises(IndexError):
        matrix.pack(0, np.zeros((5, 18), np.uint8))
    with pytest.raises(ValueError, match="as long"):
        matrix.pack(0, np.zeros((4, 17), np.uint8))
    with pytest.raises(IndexError):
        matrix.unpack_rows(np.array([4], np.int32))
    with pytest.raises(ValueError, match="columns"):
        matrix.linear(np.zeros((1, 31), np.float32))
