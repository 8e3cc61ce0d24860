"""Lazy views: each is numpy's own operation, on whole blocks, whatever rows are asked for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from heron.checkpoint.tensor import MappedTensor, Tensor
from heron.checkpoint.views import AxisSlice, Concat, Const, MapValues, Reshape, RowGather, RowSlice, Stack, Transpose, gather
from heron.errors import CheckpointError
from heron.quant.dequantize import dequantize
from heron.quant.formats import FORMATS
from heron.quant.quantize import quantize


def make(shape: tuple[int, ...], name: str, seed: int = 0) -> tuple[Tensor, np.ndarray]:
    """A mapped tensor and its decoded values."""
    fmt = FORMATS[name]
    values = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    raw = quantize(fmt, values)
    raw.flags.writeable = False
    return MappedTensor(raw.reshape(-1), shape, fmt), dequantize(fmt, raw)


def check(view: Tensor, expected: np.ndarray) -> None:
    assert view.shape == expected.shape
    assert view.rows().shape == (view.n_rows, view.row_bytes)
    np.testing.assert_array_equal(view.numpy(), expected)
    flat = expected.reshape(view.n_rows, view.row_length)
    for start in range(view.n_rows + 1):
        for stop in range(start, view.n_rows + 1):
            np.testing.assert_array_equal(dequantize(view.format, view.rows(start, stop)), flat[start:stop])


FORMATS_TRIED = ["F32", "BF16", "Q8_0", "Q4_0"]


@pytest.mark.parametrize("name", FORMATS_TRIED)
def test_slices(name: str) -> None:
    t, x = make((3, 4, 96), name)
    check(RowSlice(t, 1, 3), x[1:3])
    check(AxisSlice(t, 1, 1, 3), x[:, 1:3])
    check(AxisSlice(t, -1, 32, 96), x[..., 32:])
    check(AxisSlice(t, -2, 2, 2), x[:, 2:2])
    check(AxisSlice(AxisSlice(t, 1, 1, 4), 1, 1, 2), x[:, 2:3])
    if name not in ("F32", "BF16"):
        with pytest.raises(CheckpointError, match="a row of 16 elements"):
            AxisSlice(t, -1, 16, 48)
    with pytest.raises(CheckpointError, match="cannot take 2:5"):
        AxisSlice(t, 1, 2, 5)


@pytest.mark.parametrize("name", FORMATS_TRIED)
def test_joins(name: str) -> None:
    (a, x), (b, y) = make((3, 2, 64), name, 1), make((3, 3, 64), name, 2)
    check(Concat([a, b], axis=-2), np.concatenate([x, y], axis=-2))
    check(Concat([a, b, a], axis=1), np.concatenate([x, y, x], axis=1))
    check(Concat([RowSlice(a, 0, 2), a]), np.concatenate([x[:2], x]))
    check(Concat([a, a], axis=-1), np.concatenate([x, x], axis=-1))
    check(Stack([a, a]), np.stack([x, x]))
    with pytest.raises(CheckpointError, match="cannot join"):
        Concat([a, b])
    with pytest.raises(CheckpointError, match="cannot join"):
        Concat([a, make((3, 2, 64), "F16")[0]])


def test_vectors() -> None:
    """A bias is cut, joined, stacked and reordered by its elements."""
    a, x = make((6,), "F32")
    check(RowSlice(a, 2, 5), x[2:5])
    check(Concat([a, a]), np.concatenate([x, x]))
    check(Stack([a, a]), np.stack([x, x]))
    check(gather(a, [5, 0, 3]), x[[5, 0, 3]])


@pytest.mark.parametrize("name", FORMATS_TRIED)
def test_reshape_and_gather(name: str) -> None:
    t, x = make((6, 64), name)
    check(Reshape(t, (2, 3, 64)), x.reshape(2, 3, 64))
    check(Reshape(t, (2, 3, 2, 32)), x.reshape(2, 3, 2, 32))
    check(Reshape(t, (3, 128)), x.reshape(3, 128))
    check(Reshape(t, (2, 192)), x.reshape(2, 192))
    check(RowGather(t, [5, 1, 1]), x[[5, 1, 1]])
    check(gather(Reshape(t, (2, 3, 64)), [5, 4, 3, 2, 1, 0]), x[::-1].reshape(2, 3, 64))
    with pytest.raises(CheckpointError, match="384 elements are not 385"):
        Reshape(t, (5, 77))
    with pytest.raises(CheckpointError, match="outside"):
        RowGather(t, [6])
    if name in ("Q8_0", "Q4_0"):
        with pytest.raises(CheckpointError, match="a row of 48 elements"):
            Reshape(t, (8, 48))


@pytest.mark.parametrize("name", ["F32", "F16", "BF16"])
def test_transpose(name: str) -> None:
    t, x = make((3, 4, 5), name)
    check(Transpose(t), x.swapaxes(1, 2))
    check(Transpose(RowGather(Reshape(t, (12, 5)), [3, 0, 7])), x.reshape(12, 5)[[3, 0, 7]].T)


def test_only_plain_matrices_can_be_transposed() -> None:
    for t in (make((32, 32), "Q8_0")[0], make((8,), "F32")[0]):
        with pytest.raises(CheckpointError, match="cannot transpose"):
            Transpose(t)


def test_values() -> None:
    t, x = make((3, 64), "Q8_0")
    check(MapValues(t, lambda v: v + np.float32(1)), x + 1)
    check(Const([[1.0, 2.0], [3.0, 4.0]]), np.array([[1, 2], [3, 4]], np.float32))
    check(Const(np.float32(7), "seven"), np.array(7, np.float32))


@pytest.mark.parametrize(
    "cut",
    [
        lambda t: RowSlice(t, 1, 3),
        lambda t: AxisSlice(t, 1, 32, 64),
        lambda t: Reshape(t, (2, 2, 64)),
        lambda t: RowSlice(Concat([t, t]), 4, 8),
    ],
)
def test_a_view_of_one_run_of_rows_copies_nothing(cut: Callable[[Tensor], Tensor]) -> None:
    t, _ = make((4, 64), "Q8_0")
    assert np.shares_memory(cut(t).rows(), t.rows())


def test_pairing_is_carried_by_what_is_made_of_the_rows() -> None:
    t, _ = make((4, 64), "F32")
    t.pairing = "half"
    plain = make((4, 64), "F32")[0]
    for view in (RowSlice(t, 0, 2), Reshape(t, (2, 2, 64)), RowGather(t, [0]), Concat([plain, t]), Stack([t])):
        assert view.pairing == "half"
    assert Concat([plain, plain]).pairing == ""
