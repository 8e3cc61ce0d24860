"""A model's weights on the device: matrices in their format where ``decode`` knows it, everything else as numbers."""

from __future__ import annotations

from collections.abc import Callable, Container, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from heron.backends.torch.decode import DECODERS, dequantize
from heron.backends.torch.planes import Planes
from heron.checkpoint.tensor import Tensor as Stored
from heron.checkpoint.views import Concat
from heron.graph.graph import Graph, Node, Weight
from heron.quant.dequantize import dequantize as decode_on_host
from heron.quant.formats import Format

#: Numbers of a quantized matrix that are decoded at a time, to be multiplied by.
TILE = 1 << 24

#: Bytes that are read and moved to the device at a time.
PIECE = 1 << 26

#: Ops whose first weight is a matrix.
MULTIPLYING = ("embed", "linear", "expert_linear")

Stores = TypeVar("Stores", Tensor, Planes)

PLAIN = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


@dataclass(frozen=True)
class Matrix:
    """Rows of a matrix, or of a stack of them: numbers [..., out, in], or blocks of ``format``, uint8 [..., out, row bytes] or planes."""

    data: Tensor | Planes
    format: Format | None = None

    def numbers(self, raw: Tensor | Planes, dtype: torch.dtype) -> Tensor:
        raw = raw.joined() if isinstance(raw, Planes) else raw
        return (raw if self.format is None else dequantize(self.format, raw)).to(dtype)

    def whole(self, dtype: torch.dtype) -> Tensor:
        """All of it, decoded."""
        return self.numbers(self.data, dtype)

    def take(self, ids: Tensor, dtype: torch.dtype) -> Tensor:
        """[*ids.shape, ...]: rows of a matrix, or matrices of a stack."""
        return self.numbers(self.data[ids], dtype)

    def __getitem__(self, i: int) -> Matrix:
        """A matrix of a stack."""
        return Matrix(self.data[i], self.format)

    @property
    def rows(self) -> int:
        return self.data.shape[-2]

    @property
    def width(self) -> int:
        """Numbers in a row."""
        stored = self.data.shape[-1]
        return stored if self.format is None or isinstance(self.data, Planes) else stored // self.format.bytes * self.format.block


def product(x: Tensor, matrix: Matrix) -> Tensor:
    """x [..., in] times a matrix [out, in] -> [..., out], in x's type. Quantized rows are decoded tile by tile."""
    if isinstance(matrix.data, Tensor) and matrix.data.dtype == x.dtype:
        return functional.linear(x, matrix.data)
    if x.requires_grad and not matrix.data.requires_grad and torch.is_grad_enabled():
        frozen: Tensor = FrozenProduct.apply(x, matrix)
        return frozen
    parts = [functional.linear(x, matrix.numbers(tile, x.dtype)) for tile in _tiles(matrix)]
    return parts[0] if len(parts) == 1 else torch.cat(parts, -1)


def _tiles(matrix: Matrix) -> Sequence[Tensor | Planes]:
    return matrix.data.split(max(1, TILE // matrix.width))


class FrozenProduct(torch.autograd.Function):
    """``product`` with a matrix that does not train: what is decoded lives for one tile, on the way forward and on the way back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, matrix: Matrix) -> Tensor:
        ctx.matrix = matrix
        return product(x, matrix)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        """The gradient of x: that of y [..., out] times the matrix."""
        (grad,), matrix, at = grads, ctx.matrix, 0
        total = grad.new_zeros(*grad.shape[:-1], matrix.width)
        for tile in _tiles(matrix):
            total += grad[..., at : at + len(tile)] @ matrix.numbers(tile, grad.dtype)
            at += len(tile)
        return total, None


def is_matrix(node: Node, i: int) -> bool:
    """Whether the node multiplies by its i-th weight, or takes rows of it."""
    return i < {"latent_attend": 2, "packed_linear": node.attrs.get("n", 0), "gated_linear": 2}.get(node.op, node.op in MULTIPLYING)


def matrices_together(node: Node, formats: Container[str]) -> tuple[Weight, ...]:
    """The node's matrices, where it multiplies by several of one format among these: then they are kept as one matrix. Else none."""
    matrices = tuple(weight for weight in node.weights[: node.attrs["n"]] if weight) if node.op == "packed_linear" else ()
    found = {weight.tensor.format.name for weight in matrices}
    return matrices if len(found) == 1 and all(name in formats for name in found) else ()


class TorchWeights:
    """Each tensor is moved once, whatever the number of nodes and entries that use it. Matrices in the formats ``planar`` become planes."""

    def __init__(self, device: torch.device, dtype: torch.dtype, planar: Container[str] = ()) -> None:
        self._device, self._dtype, self._planar = device, dtype, planar
        # By the ids of tensors, which are kept so that these stay their own.
        self._matrices: dict[tuple[int, ...], tuple[tuple[Stored, ...], Matrix]] = {}
        self._numbers: dict[int, tuple[Stored, Tensor]] = {}
        self._derived: dict[Hashable, Tensor] = {}

    def load(self, graph: Graph) -> None:
        """Move all that the graph's nodes use."""
        for node in graph.nodes:
            together = matrices_together(node, self._planar)
            if together:
                self.joined(together)
            for i, weight in enumerate(node.weights[len(together) :], len(together)):
                if weight is not None:
                    self.matrix(weight) if is_matrix(node, i) else self.numbers(weight)

    def matrix(self, weight: Weight) -> Matrix:
        return self.joined((weight,))

    def joined(self, weights: Sequence[Weight]) -> Matrix:
        """Matrices of one format and width, each below the one before."""
        tensors = tuple(weight.tensor for weight in weights)
        key = tuple(map(id, tensors))
        if key not in self._matrices:
            self._matrices[key] = (tensors, self._matrix(tensors[0] if len(tensors) == 1 else Concat(tensors)))
        return self._matrices[key][1]

    def numbers(self, weight: Weight) -> Tensor:
        """The weight in f32: vectors, and small matrices that are not products'."""
        tensor = weight.tensor
        if id(tensor) not in self._numbers:
            self._numbers[id(tensor)] = (tensor, torch.from_numpy(np.array(tensor.numpy(), np.float32)).to(self._device))
        return self._numbers[id(tensor)][1]

    def derived(self, key: Hashable, make: Callable[[], Tensor]) -> Tensor:
        """What ``make`` gave for this key: a table that follows from weights and attributes alone."""
        if key not in self._derived:
            self._derived[key] = make().to(self._device)
        return self._derived[key]

    def _matrix(self, tensor: Stored) -> Matrix:
        format = tensor.format
        if format.name in self._planar:
            planes = self._moved(tensor, Planes.empty(format, (tensor.n_rows, tensor.row_length), self._device))
            return Matrix(planes.of(tensor.shape), format)
        if format.name in DECODERS:
            raw = self._moved(tensor, torch.empty(tensor.n_rows, tensor.row_bytes, dtype=torch.uint8, device=self._device))
            return Matrix(raw.reshape(*tensor.shape[:-1], -1), format)
        kept = PLAIN.get(format.name, self._dtype)
        dtype = kept if kept.itemsize < self._dtype.itemsize else self._dtype
        numbers = self._moved(tensor, torch.empty(tensor.n_rows, tensor.row_length, dtype=dtype, device=self._device))
        return Matrix(numbers.reshape(tensor.shape))

    @staticmethod
    def _moved(tensor: Stored, to: Stores) -> Stores:
        """The tensor's rows in ``to``: as bytes, or as numbers of its type."""
        step = max(1, PIECE // (4 * tensor.row_length))
        for start in range(0, tensor.n_rows, step):
            rows = np.array(tensor.rows(start, min(tensor.n_rows, start + step)), order="C")  # own memory: what is mapped is read-only
            if isinstance(to, Planes) or to.dtype == torch.uint8:
                piece = torch.from_numpy(rows)
            elif tensor.format.name in PLAIN:
                piece = torch.from_numpy(rows).view(PLAIN[tensor.format.name])
            else:
                piece = torch.from_numpy(decode_on_host(tensor.format, rows))
            to[start : start + len(rows)] = piece
        return to

    @property
    def nbytes(self) -> int:
        held = [numbers for _, numbers in self._numbers.values()] + list(self._derived.values())
        return sum(matrix.data.nbytes for _, matrix in self._matrices.values()) + sum(data.nbytes for data in held)

    def clear(self) -> None:
        self._matrices.clear()
        self._numbers.clear()
        self._derived.clear()
