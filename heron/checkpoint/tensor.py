"""A tensor of a checkpoint: a shape, a format, and rows that are read when they are asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from heron.errors import CheckpointError
from heron.quant.dequantize import dequantize
from heron.quant.formats import Format


class Tensor(ABC):
    """Rows of encoded numbers, row-major.

    `shape` is in numpy's order: a matrix is [out, in], experts are [E, out, in] (GGUF's dimensions reversed). A row
    runs over the last dimension; the leading ones are flattened. A scalar is one row of one element.

    `pairing` says which elements of a query or key head rope turns together, where that differs from what the
    architecture's GGUF files hold: "half" on a tensor of a HF folder whose rows GGUF would have permuted to
    adjacent pairs, "" otherwise.

    `column_order` is given where rows hold columns in another order than the matrix has them, so that groups with one scale lie
    together: the matrix's column [row length] that each stored one is. `numpy` has them in place, `rows` as they are stored.
    """

    shape: tuple[int, ...]
    format: Format
    pairing: str = ""
    column_order: NDArray[np.intp] | None = None

    @abstractmethod
    def rows(self, start: int = 0, stop: int | None = None) -> NDArray[np.uint8]:
        """Rows start..stop of the flattened leading dimensions: uint8 [stop - start, row_bytes].

        Views of a mapped file where that is possible, so do not write into them; rows may be strided.
        """

    def in_place(self) -> NDArray[np.uint8] | None:
        """All rows, if nothing has to be read, copied or computed to give them; None otherwise."""
        return None

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def dim(self, axis: int) -> int:
        """`shape[axis]`. Raises CheckpointError when there are not as many dimensions: files may hold any shape."""
        if not -self.ndim <= axis < self.ndim:
            raise CheckpointError(f"{self!r} should have more than {axis} dimensions; the file is damaged, or of another variant")
        return self.shape[axis]

    @property
    def row_length(self) -> int:
        """Elements in a row."""
        return self.shape[-1] if self.shape else 1

    @property
    def n_rows(self) -> int:
        return prod(self.shape[:-1])

    @property
    def row_bytes(self) -> int:
        return self.format.row_bytes(self.row_length)

    @property
    def size(self) -> int:
        """Elements in all."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.n_rows * self.row_bytes

    def numpy(self) -> NDArray[np.float32]:
        """The decoded values: float32 of `shape`. Raises UnsupportedError for a format without a decoder."""
        values = dequantize(self.format, self.rows()).reshape(self.shape)
        return values if self.column_order is None else in_place(values, self.column_order)

    def _stop(self, stop: int | None) -> int:
        return self.n_rows if stop is None else stop

    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self.shape)}, {self.format.name})"


def in_place(values: NDArray[np.float32], order: NDArray[np.intp]) -> NDArray[np.float32]:
    """Columns [..., n] that are stored in an order, where the matrix has them."""
    result = np.empty_like(values)
    result[..., order] = values
    return result


def same_order(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors' columns are stored in one order."""
    if a.column_order is None or b.column_order is None:
        return a.column_order is b.column_order
    return a.column_order is b.column_order or np.array_equal(a.column_order, b.column_order)


class MappedTensor(Tensor):
    """A tensor that lies in one piece in a mapped file. Nothing is copied, but for the bytes of a big-endian file."""

    def __init__(self, data: NDArray[np.uint8], shape: tuple[int, ...], format: Format, *, swap: bool = False) -> None:
        """`data` are the tensor's bytes, already checked to be as many as `shape` and `format` need."""
        self.shape = shape
        self.format = format
        self._rows = data.reshape(self.n_rows, self.row_bytes)
        self._swap = swap

    def rows(self, start: int = 0, stop: int | None = None) -> NDArray[np.uint8]:
        rows = self._rows[start : self._stop(stop)]
        return self.format.swapped(rows) if self._swap else rows

    def in_place(self) -> NDArray[np.uint8] | None:
        return None if self._swap else self._rows


class StoredTensor(Tensor):
    """A tensor in a file that is not mapped: rows are read when they are asked for, into memory of their own."""

    def __init__(self, path: Path, offset: int, shape: tuple[int, ...], format: Format, *, swap: bool = False) -> None:
        """It begins at byte `offset`, and lies within the file."""
        self.shape = shape
        self.format = format
        self._path, self._offset, self._swap = path, offset, swap

    def rows(self, start: int = 0, stop: int | None = None) -> NDArray[np.uint8]:
        """Raises CheckpointError where the file cannot be read any more."""
        start, stop, _ = slice(start, stop).indices(self.n_rows)
        count, size = max(0, stop - start), self.row_bytes
        try:
            raw = np.fromfile(self._path, np.uint8, count * size, offset=self._offset + start * size)
        except OSError as error:
            raise CheckpointError(f"{self._path}: cannot be read ({error.strerror or error}); check the disk") from None
        if len(raw) != count * size:
            raise CheckpointError(f"{self._path}: the file has become shorter since it was opened; load the model again")
        rows = raw.reshape(count, size)
        return self.format.swapped(rows) if self._swap else rows
