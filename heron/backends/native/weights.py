"""A model's weights as the core holds them: matrices packed for products, everything else as f32."""

from __future__ import annotations

import mmap
from math import prod

import numpy as np
from numpy.typing import NDArray

from heron import _core
from heron.checkpoint.tensor import Tensor
from heron.checkpoint.views import Const
from heron.graph.graph import Node, Weight

#: Bytes of a matrix that one thread packs at a time.
PIECE = 1 << 20


def matrices_of(node: Node) -> int:
    """How many of the node's first weights are matrices that it multiplies by, or takes rows of."""
    if node.op == "packed_linear":
        return int(node.attrs["n"])
    return 1 if node.op in ("embed", "linear", "expert_linear") else 0


class NativeWeights:
    """Each tensor is made ready once, whatever the number of nodes and entries that use it."""

    def __init__(self, runtime: _core.Runtime) -> None:
        self._runtime = runtime
        self._made: dict[tuple[int, bool], tuple[Tensor, _core.Weight]] = {}  # the tensor is kept so that its id stays its own

    def get(self, weight: Weight, matrix: bool) -> _core.Weight:
        key = (id(weight.tensor), matrix)
        if key not in self._made:
            self._made[key] = (weight.tensor, self._pack(weight) if matrix else _plain(weight))
        return self._made[key][1]

    def _pack(self, weight: Weight) -> _core.Weight:
        """Rewrite the matrix, or each expert's, in pieces on all threads; a mapped file's pages are let go behind."""
        tensor = weight.tensor
        if not _core.knows_format(tensor.format.id):
            tensor = Const(tensor.numpy())
        made = _core.Weight(self._runtime, weight.name, list(tensor.shape), tensor.format.id)
        rows, matrices = tensor.shape[-2], prod(tensor.shape[:-2])
        piece = max(1, PIECE // (made.panel_rows * tensor.row_bytes)) * made.panel_rows
        pieces = -(-rows // piece)

        def body(chunk: int) -> None:
            matrix, first = chunk // pieces, chunk % pieces * piece
            part = tensor.rows(matrix * rows + first, matrix * rows + min(rows, first + piece))
            made.pack_rows(matrix, first, part, _is_mapped(part))

        self._runtime.parallel(matrices * pieces, body)
        return made

    @property
    def nbytes(self) -> int:
        return sum(made.nbytes for _, made in self._made.values())

    def clear(self) -> None:
        self._made.clear()


def _plain(weight: Weight) -> _core.Weight:
    return _core.Weight(weight.name, list(weight.shape), np.ascontiguousarray(weight.tensor.numpy().reshape(-1)))


def _is_mapped(array: NDArray[np.uint8]) -> bool:
    """Whether the bytes are those of a mapped file, and not a copy of them."""
    base: object = array
    while isinstance(base, np.ndarray | memoryview):
        base = base.base if isinstance(base, np.ndarray) else base.obj
    return isinstance(base, mmap.mmap)
