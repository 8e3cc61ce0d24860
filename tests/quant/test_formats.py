"""The format table and the numpy codecs, held to gguf-py's."""

from __future__ import annotations

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type
from numpy.typing import NDArray
from random_blocks import random_rows

from heron.errors import CheckpointError, UnsupportedError
from heron.quant.codebooks import even_signs, grid
from heron.quant.dequantize import dequantize
from heron.quant.formats import FORMATS, by_id
from heron.quant.quantize import quantize
from heron.quant.rules import encode


def test_every_type_of_gguf_py_is_in_the_table_with_its_size() -> None:
    for kind, (block, size) in gguf.GGML_QUANT_SIZES.items():
        fmt = by_id(int(kind))
        if kind == Type.Q8_1:
            size = 36  # gguf-py still has the two f32 that ggml's block had once; they are f16 now
        assert (fmt.name, fmt.block, fmt.bytes) == (kind.name, block, size)


def test_a_row_is_a_whole_number_of_blocks() -> None:
    assert FORMATS["Q4_K"].row_bytes(512) == 288
    with pytest.raises(CheckpointError, match="row of 300 elements cannot be Q4_K"):
        FORMATS["Q4_K"].row_bytes(300)
    with pytest.raises(CheckpointError, match="type 99"):
        by_id(99)


#: Those that gguf-py decodes.
DECODED = sorted({"F32", "F16"} | {kind.name for kind in gguf.quants._type_traits})


def test_gguf_py_decodes_what_it_did() -> None:
    """Formats that it does not know are held to hand-computed blocks, below."""
    by_hand = {"Q8_1", "Q8_K", "Q1_0", "Q2_0", "F64", "I8", "I16", "I32", "I64"}
    assert {name for name, fmt in FORMATS.items() if fmt.in_gguf} - set(DECODED) <= by_hand


@pytest.mark.parametrize("name", DECODED)
def test_decoding_equals_gguf_py(name: str) -> None:
    fmt = FORMATS[name]
    raw = random_rows(fmt, 37, 4 * fmt.block, np.random.default_rng(fmt.id))
    with np.errstate(over="ignore"):
        theirs = gguf.quants.dequantize(raw, Type[name])
    ours = dequantize(fmt, raw)
    assert ours.dtype == np.float32
    assert np.array_equal(ours.view(np.uint32), theirs.astype(np.float32).view(np.uint32))


@pytest.mark.parametrize("name", ["IQ1_S", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S"])
def test_grids_are_gguf_pys(name: str) -> None:
    theirs = gguf.quants._type_traits[Type[name]]
    theirs.init_grid()
    np.testing.assert_array_equal(grid(name), theirs.grid.reshape(theirs.grid_shape))


def test_even_signs_are_gguf_pys() -> None:
    np.testing.assert_array_equal(even_signs(), np.frombuffer(gguf.quants.IQ2_XXS.ksigns, np.uint8))


def test_decoding_of_blocks_for_products() -> None:
    """The sums of quants that products want are beside their values, and no part of them. gguf-py has no codec for these."""
    quants = np.arange(-128, 128, dtype=np.int8)
    half, total = np.array([-0.25, 99], "<f2").tobytes(), np.full(16, 7, "<i2").tobytes()
    short = np.frombuffer(half + quants[:32].tobytes(), np.uint8)
    np.testing.assert_array_equal(dequantize(FORMATS["Q8_1"], short), np.arange(-128, -96) * -0.25)
    long = np.frombuffer(np.array([0.1], "<f4").tobytes() + quants.tobytes() + total, np.uint8)
    np.testing.assert_array_equal(dequantize(FORMATS["Q8_K"], long), np.arange(-128, 128, dtype=np.float32) * np.float32(0.1))


def test_decoding_of_one_and_two_bit_blocks() -> None:
    """gguf-py has no codec for these; the values are the definition's."""
    half = np.frombuffer(np.float16(0.5).tobytes(), np.uint8)
    one = np.concatenate([half, np.full(16, 0b00000101, np.uint8)])
    np.testing.assert_array_equal(dequantize(FORMATS["Q1_0"], one), np.tile([0.5, -0.5, 0.5, -0.5, -0.5, -0.5, -0.5, -0.5], 16))
    two = np.concatenate([half, np.full(16, 0b11100100, np.uint8)])
    np.testing.assert_array_equal(dequantize(FORMATS["Q2_0"], two), np.tile([-0.5, 0.0, 0.5, 1.0], 16))


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_every_format_is_decoded(name: str) -> None:
    fmt = FORMATS[name]
    zeros = dequantize(fmt, np.zeros((2, 3 * fmt.bytes), np.uint8))
    assert zeros.shape == (2, 3 * fmt.block)
    assert not zeros.any() or name == "F8_E8M0"  # powers of two, which have no zero


@pytest.mark.parametrize(("name", "dtype"), [("F64", "<f8"), ("I8", "i1"), ("I16", "<i2"), ("I32", "<i4"), ("I64", "<i8")])
def test_plain_numbers(name: str, dtype: str) -> None:
    values = np.array([[-3, 0, 7], [100, -100, 1]], dtype)
    np.testing.assert_array_equal(dequantize(FORMATS[name], values.view(np.uint8)), values.astype(np.float32))


#: Those that gguf-py encodes.
ENCODED = ["F32", "F16", *sorted(kind.name for kind, codec in gguf.quants._type_traits.items() if "quantize_blocks" in vars(codec))]


@pytest.mark.parametrize("name", ENCODED)
def test_encoding_equals_gguf_py_byte_for_byte(name: str) -> None:
    rng = np.random.default_rng(3)
    x = rng.standard_normal((3, 7, 512), dtype=np.float32) * np.float32(10) ** rng.integers(-5, 5, (3, 7, 1)).astype(np.float32)
    x[0, 0, :256] = 0
    x[0, 1, :32] = np.linspace(-1, 1, 32) * 127  # halves: the rounding of ties
    x[0, 2, :32] = np.arange(-16, 16) / 2
    x[0, 3, :256] = np.arange(256) % 13 / 2  # ties between E2M1's numbers
    x[0, 3, 255] = 6
    x[0, 4] = -3  # one value alone
    x[0, 5] = np.abs(x[0, 5])
    x[0, 6, :256], x[0, 6, 17] = 0, 1  # an outlier
    assert_equal_bytes(name, x)


@pytest.mark.parametrize("name", ENCODED)
@pytest.mark.parametrize("size", [1e-41, 1e-38, 1e-7, 65504, 1e30, 1.5e38, 3.4e38])
def test_encoding_of_very_small_and_very_large_blocks(name: str, size: float) -> None:
    """Scales below and above what f16 holds become 0 or infinity, as in gguf-py."""
    ramp = np.linspace(-1, 1, 512, dtype=np.float32)[None] * np.float32(size)
    assert_equal_bytes(name, np.concatenate([ramp, np.full_like(ramp, size), -np.abs(ramp)]))


def assert_equal_bytes(name: str, x: NDArray[np.float32]) -> None:
    with np.errstate(all="ignore"):
        theirs = gguf.quants.quantize(x, Type[name]).view(np.uint8)
    for ours in (encode(FORMATS[name], x), quantize(FORMATS[name], x)):  # numpy's, and the core's where there is one
        np.testing.assert_array_equal(ours, theirs.reshape(ours.shape))


def test_encoding_of_extremes() -> None:
    x = np.array([[np.inf, -np.inf, np.nan, 1e38, 3.4e38, -0.0, 1e-45, 65520.0]], np.float32)
    for name in ("F32", "BF16"):
        theirs = gguf.quants.quantize(x, Type[name])
        np.testing.assert_array_equal(quantize(FORMATS[name], x), theirs.view(np.uint8).reshape(1, -1))
    assert np.isinf(dequantize(FORMATS["F16"], quantize(FORMATS["F16"], x))[0, -1])


def test_a_format_without_an_encoder_is_named() -> None:
    with pytest.raises(UnsupportedError, match="Q4_K"):
        encode(FORMATS["Q4_K"], np.zeros(256, np.float32))
    with pytest.raises(UnsupportedError, match="Q8_K"):
        quantize(FORMATS["Q8_K"], np.zeros(256, np.float32))
    with pytest.raises(CheckpointError, match="33 elements"):
        quantize(FORMATS["Q8_0"], np.zeros(33, np.float32))


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_swapping_twice_is_nothing_and_once_moves_only_wide_fields(name: str) -> None:
    fmt = FORMATS[name]
    raw = np.random.default_rng(0).integers(0, 256, (3, 2 * fmt.bytes), np.uint8)
    swapped = fmt.swapped(raw)
    np.testing.assert_array_equal(fmt.swapped(swapped), raw)
    opposite = fmt.layout.newbyteorder(">")
    for field in fmt.layout.names or ():
        theirs, ours = swapped.view(opposite)[field], raw.view(fmt.layout)[field]
        assert theirs.tobytes() == ours.astype(theirs.dtype).tobytes()
    if name in ("Q4_0", "Q8_0"):
        assert (swapped.reshape(-1, fmt.bytes)[:, 2:] == raw.reshape(-1, fmt.bytes)[:, 2:]).all()
        assert (swapped.reshape(-1, fmt.bytes)[:, :2] == raw.reshape(-1, fmt.bytes)[:, 1::-1]).all()
    if name == "Q6_K":
        assert (swapped.reshape(-1, fmt.bytes)[:, :208] == raw.reshape(-1, fmt.bytes)[:, :208]).all()


def test_empty_rows() -> None:
    assert dequantize(FORMATS["Q8_0"], np.zeros((0, 68), np.uint8)).shape == (0, 64)
    assert quantize(FORMATS["Q8_0"], np.zeros((0, 64), np.float32)).shape == (0, 68)
