"""A tensor in another format: its rows are decoded and rounded anew when they are asked for, and never all of them at once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from heron.checkpoint.tensor import Tensor
from heron.checkpoint.views import InOrder
from heron.errors import CheckpointError
from heron.quant.dequantize import dequantize
from heron.quant.formats import Format
from heron.quant.quantize import quantize


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
        if self._importance is None:
            return self._rounded(start, stop, None)
        each = self.shape[-2]
        parts = []
        while start < stop:  # a matrix at a time: each has its own importance
            end = min(stop, (start // each + 1) * each)
            parts.append(self._rounded(start, end, self._importance[start // each if len(self._importance) > 1 else 0]))
            start = end
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _rounded(self, start: int, stop: int, importance: NDArray[np.float32] | None) -> NDArray[np.uint8]:
        values = dequantize(self._source.format, self._source.rows(start, stop))
        try:
            return quantize(self.format, values, importance, self._threads)
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
