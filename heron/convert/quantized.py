"""A tensor in another format: its rows are decoded and rounded anew when they are asked for, and never all of them at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
from numpy.typing import NDArray

from heron.checkpoint.tensor import Tensor
from heron.checkpoint.views import InOrder
from heron.compiled import core
from heron.errors import CheckpointError
from heron.quant.dequantize import dequantize
from heron.quant.formats import Format
from heron.quant.quantize import quantize

#: Elements that a thread decodes and rounds at a time.
PIECE = 1 << 20


@cache
def _cores() -> int:
    """Threads where nothing is asked: as many as a model is run on."""
    return (os.cpu_count() or 1) if core is None else core.Runtime(0).threads


class Quantized(Tensor):
    """``source`` in ``format``. ``importance`` f32 [matrices, in] says, of each matrix [out, in], what errors in its columns count for."""

    def __init__(
        self, name: str, source: Tensor, format: Format, importance: NDArray[np.float32] | None = None, threads: int | None = None
    ) -> None:
        self.shape, self.format = source.shape, format
        source = source if source.column_order is None else InOrder(source)
        self._name, self._source, self._importance, self._threads = name, source, importance, threads
        format.row_bytes(source.row_length)  # refuses rows that are not whole blocks

    def rows(self, start: int = 0, stop: int | None = None) -> NDArray[np.uint8]:
        stop = self._stop(stop)
        if self._source.format is self.format:
            return self._source.rows(start, stop)
        with ThreadPoolExecutor(self._threads or _cores()) as pool:  # decoding takes a thread's time too
            parts = list(pool.map(self._rounded, *zip(*self._pieces(start, stop), strict=True)))
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    @property
    def _matrix_rows(self) -> int:
        return self.shape[-2] if self.ndim > 1 else 1

    def _pieces(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Rows of one matrix, which have one importance, and not too many of them."""
        each, most = self._matrix_rows, max(1, PIECE // self.row_length)
        while start < stop:
            end = min(stop, (start // each + 1) * each, start + most)
            yield start, end
            start = end

    def _rounded(self, start: int, stop: int) -> NDArray[np.uint8]:
        values = dequantize(self._source.format, self._source.rows(start, stop))
        importance = self._importance
        if importance is not None:
            importance = importance[start // self._matrix_rows if len(importance) > 1 else 0]
        try:
            return quantize(self.format, values, importance, threads=1)
        except CheckpointError as error:
            raise CheckpointError(f"tensor {self._name!r}, rows from {start} on: {error}") from None


class Watched(Tensor):
    """A tensor that says how many elements were read of it, for a bar."""

    def __init__(self, source: Tensor, read: Callable[[int], None]) -> None:
        self.shape, self.format, self.pairing = source.shape, source.format, source.pairing
        self._source, self._read = source, read

    def rows(self, start: int = 0, stop: int | None = None) -> NDArray[np.uint8]:
        rows = self._source.rows(start, stop)
        self._read(len(rows) * self.row_length)
        return rows
