"""Lazy views: tensors made of other tensors' rows. A view copies only the rows that it is asked for, if any."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from math import prod

import numpy as np
from numpy.typing import ArrayLike, NDArray

from heron.checkpoint.tensor import Tensor, in_place, same_order
from heron.errors import CheckpointError
from heron.quant.dequantize import dequantize
from heron.quant.formats import FORMATS, Format
from heron.quant.quantize import quantize

Segment = tuple[Tensor, int, int]


class _SegmentView(Tensor):
    """A view whose rows are whole rows of others, in runs: what slicing, joining and stacking have in common."""

    @abstractmethod
    def segments(self, start: int, stop: int) -> Iterator[Segment]:
        """The runs (tensor, first row, last row + 1) that make up rows start..stop."""

    def rows(self, start: int = 0, stop: int | None = None) -> NDArray[np.uint8]:
        runs = [tensor.rows(first, last) for tensor, first, last in self.segments(start, self._stop(stop))]
        if len(runs) == 1:
            return runs[0]  # zero-copy when what lies below is mapped
        return np.concatenate(runs) if runs else np.empty((0, self.row_bytes), np.uint8)

    def in_place(self) -> NDArray[np.uint8] | None:
        runs = list(self.segments(0, self.n_rows))
        below = runs[0][0].in_place() if len(runs) == 1 else None
        return None if below is None else below[runs[0][1] : runs[0][2]]


class AxisSlice(_SegmentView):
    """`tensor[start:stop]` along `axis`. The last axis is cut at block bounds only."""

    def __init__(self, tensor: Tensor, axis: int, start: int, stop: int) -> None:
        length = tensor.dim(axis)
        axis %= tensor.ndim
        if not 0 <= start <= stop <= length:
            raise CheckpointError(f"cannot take {start}:{stop} along axis {axis} of a tensor of shape {list(tensor.shape)}")
        self._source, self._start, self._size = tensor, start, stop - start
        self._across = axis == len(tensor.shape) - 1
        self._axis_rows, self._inner = length, prod(tensor.shape[axis + 1 : -1])
        self.shape = (*tensor.shape[:axis], stop - start, *tensor.shape[axis + 1 :])
        self.format, self.pairing = tensor.format, tensor.pairing
        self.column_order = tensor.column_order
        if self._across:
            _refuse_order(tensor)
            self._first_byte, self._last_byte = self.format.row_bytes(start), self.format.row_bytes(stop)

    def rows(self, start: int = 0, stop: int | None = None) -> NDArray[np.uint8]:
        if self._across:
            return self._source.rows(start, self._stop(stop))[:, self._first_byte : self._last_byte]
        return super().rows(start, stop)

    def in_place(self) -> NDArray[np.uint8] | None:
        if not self._across:
            return super().in_place()
        below = self._source.in_place()
        return None if below is None else below[:, self._first_byte : self._last_byte]

    def segments(self, start: int, stop: int) -> Iterator[Segment]:
        period, source_period = self._size * self._inner, self._axis_rows * self._inner
        while start < stop:
            outer, within = divmod(start, period)
            count = min(stop - start, period - within)
            first = outer * source_period + self._start * self._inner + within
            yield self._source, first, first + count
            start += count


class RowSlice(AxisSlice):
    """`tensor[start:stop]` along the first axis: rows of a matrix, elements of a vector, experts of a stack."""

    def __init__(self, tensor: Tensor, start: int, stop: int) -> None:
        super().__init__(tensor, 0, start, stop)


class Concat(_SegmentView):
    """Tensors of one format joined along `axis` (0 by default; -2 joins the rows of stacked matrices)."""

    def __init__(self, tensors: Sequence[Tensor], axis: int = 0) -> None:
        first = tensors[0]
        first.dim(axis)
        axis %= first.ndim
        for t in tensors:
            alike = len(t.shape) == len(first.shape) and all(
                a == b for i, (a, b) in enumerate(zip(t.shape, first.shape, strict=True)) if i != axis
            )
            if t.format != first.format or not alike or not same_order(t, first):
                raise CheckpointError(f"cannot join {first!r} and {t!r} along axis {axis}: shapes and formats must agree elsewhere")
        self._sources = list(tensors)
        self._across = axis == len(first.shape) - 1
        inner = prod(first.shape[axis + 1 : -1])
        self._ends = np.cumsum([t.shape[axis] * inner for t in tensors]).tolist()
        self.shape = (*first.shape[:axis], sum(t.shape[axis] for t in tensors), *first.shape[axis + 1 :])
        self.format, self.column_order = first.format, first.column_order
        self.pairing = next((t.pairing for t in tensors if t.pairing), "")
        if self._across:
            _refuse_order(first)

    def rows(self, start: int = 0, stop: int | None = None) -> NDArray[np.uint8]:
        if self._across:
            return np.concatenate([t.rows(start, self._stop(stop)) for t in self._sources], axis=1)
        return super().rows(start, stop)

    def in_place(self) -> NDArray[np.uint8] | None:
        return None if self._across else super().in_place()

    def segments(self, start: int, stop: int) -> Iterator[Segment]:
        period = self._ends[-1]
        while start < stop:
            outer, within = divmod(start, period)
            part = int(np.searchsorted(self._ends, within, side="right"))
            begin = self._ends[part - 1] if part else 0
            count = min(stop - start, self._ends[part] - within)
            first = outer * (self._ends[part] - begin) + within - begin
            yield self._sources[part], first, first + count
            start += count


class Reshape(Tensor):
    """The same numbers in another shape. Rows of another length must still be whole blocks."""

    def __init__(self, tensor: Tensor, shape: Sequence[int]) -> None:
        if prod(shape) != tensor.size:
            raise CheckpointError(f"cannot see {tensor!r} as {list(shape)}: {tensor.size} elements are not {prod(shape)}")
        self._source, self.shape = tensor, tuple(shape)
        self.format, self.pairing = tensor.format, tensor.pairing
        self.column_order = tensor.column_order
        if self.row_length != tensor.row_length:
            _refuse_order(tensor)
        self._bytes_below = tensor.row_bytes
        self.format.row_bytes(self.row_length)

    def rows(self, start: int = 0, stop: int | None = None) -> NDArray[np.uint8]:
        stop = self._stop(stop)
        if self._bytes_below == self.row_bytes:
            return self._source.rows(start, stop)
        begin, end = start * self.row_bytes, stop * self.row_bytes
        first, last = begin // self._bytes_below, -(-end // self._bytes_below)
        flat = self._source.rows(first, last).reshape(-1)
        offset = first * self._bytes_below
        return flat[begin - offset : end - offset].reshape(stop - start, self.row_bytes)

    def in_place(self) -> NDArray[np.uint8] | None:
        return self._source.in_place() if self._bytes_below == self.row_bytes else None


class Stack(Concat):
    """Tensors of one shape [...] stacked into [E, ...]."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        super().__init__([Reshape(t, (1, *t.shape)) for t in tensors], axis=0)


class RowGather(Tensor):
    """Rows of `tensor` in the order of `index` (into the flattened leading dimensions), any block format."""

    def __init__(self, tensor: Tensor, index: ArrayLike) -> None:
        self._index = np.asarray(index, dtype=np.intp)
        if self._index.size and not 0 <= self._index.min() <= self._index.max() < tensor.n_rows:
            raise CheckpointError(f"a row index reaches outside of {tensor!r}")
        self._source, self.format, self.pairing = tensor, tensor.format, tensor.pairing
        self.column_order = tensor.column_order
        self.shape = tensor.shape if len(self._index) == tensor.n_rows else (len(self._index), tensor.row_length)

    def rows(self, start: int = 0, stop: int | None = None) -> NDArray[np.uint8]:
        index = self._index[start : self._stop(stop)]
        if not len(index):
            return np.empty((0, self.row_bytes), np.uint8)
        first = index.min()  # rows between the first and the last of these are read: where they are near each other, few
        return self._source.rows(int(first), int(index.max()) + 1)[index - first]


def gather(tensor: Tensor, index: ArrayLike) -> Tensor:
    """`tensor[index]` along the first axis of a matrix or a vector (a bias, whose elements are its rows)."""
    if len(tensor.shape) > 1:
        return RowGather(tensor, index)
    column = RowGather(Reshape(tensor, (*tensor.shape, 1)), index)
    return Reshape(column, (column.n_rows,))


class Transpose(Tensor):
    """The last two axes exchanged; plain formats only, since blocks run along a row."""

    def __init__(self, tensor: Tensor) -> None:
        if not tensor.format.plain or len(tensor.shape) < 2:
            raise CheckpointError(f"cannot transpose {tensor!r}: only matrices of plain numbers can be")
        _refuse_order(tensor)
        self.source, self.format, self.pairing = tensor, tensor.format, tensor.pairing
        self.shape = (*tensor.shape[:-2], tensor.shape[-1], tensor.shape[-2])

    def rows(self, start: int = 0, stop: int | None = None) -> NDArray[np.uint8]:
        stop = self._stop(stop)
        height, width = self.source.shape[-2:]
        first, last = start // width, -(-stop // width)  # the matrices of the stack that the rows come from
        stored = np.ascontiguousarray(self.source.rows(first * height, last * height)).view(self.format.layout)
        turned = stored.reshape(last - first, height, width).swapaxes(1, 2).reshape(-1, height)
        return np.ascontiguousarray(turned[start - first * width : stop - first * width]).view(np.uint8)


class MapValues(Tensor):
    """`fn` of each element, as F32. `fn` takes and gives float32 arrays, element by element."""

    def __init__(self, tensor: Tensor, fn: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> None:
        self._source, self._fn = tensor, fn
        self.shape, self.format, self.pairing = tensor.shape, FORMATS["F32"], tensor.pairing
        self.column_order = tensor.column_order

    def rows(self, start: int = 0, stop: int | None = None) -> NDArray[np.uint8]:
        values = self._fn(dequantize(self._source.format, self._source.rows(start, self._stop(stop))))
        return np.ascontiguousarray(values, np.float32).view(np.uint8)


class InOrder(Tensor):
    """The numbers of a tensor as F32, each column where the matrix has it. ``order`` is that of the tensor's, where it does not tell."""

    def __init__(self, tensor: Tensor, order: NDArray[np.intp] | None = None) -> None:
        self._source, self.shape, self.format, self.pairing = tensor, tensor.shape, FORMATS["F32"], tensor.pairing
        self._order = tensor.column_order if order is None else order

    def rows(self, start: int = 0, stop: int | None = None) -> NDArray[np.uint8]:
        values = dequantize(self._source.format, self._source.rows(start, self._stop(stop)))
        return np.ascontiguousarray(values if self._order is None else in_place(values, self._order)).view(np.uint8)


class AsStored(Tensor):
    """A tensor whose columns are stored in another order, ``order``, taken for a matrix that has them in that one."""

    def __init__(self, tensor: Tensor) -> None:
        self._source, self.shape, self.format, self.pairing = tensor, tensor.shape, tensor.format, tensor.pairing
        self.order = tensor.column_order

    def rows(self, start: int = 0, stop: int | None = None) -> NDArray[np.uint8]:
        return self._source.rows(start, stop)

    def in_place(self) -> NDArray[np.uint8] | None:
        return self._source.in_place()


def _refuse_order(tensor: Tensor) -> None:
    if tensor.column_order is not None:
        raise CheckpointError(f"the columns of {tensor!r} are stored in another order, and cannot be cut or turned; see InOrder")


class Const(Tensor):
    """Numbers that are in no file: float32 values in `format` (F32 by default). `name` is for messages."""

    def __init__(self, values: ArrayLike, name: str = "", format: Format = FORMATS["F32"]) -> None:
        array = np.asarray(values, np.float32)
        self.name, self.shape, self.format = name, array.shape, format
        self._rows = quantize(format, array.reshape(-1, self.row_length))

    def rows(self, start: int = 0, stop: int | None = None) -> NDArray[np.uint8]:
        return self._rows[start : self._stop(stop)]
